"""ONNX files: weights in other files, nothing outside the folder, and damage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import kind_of
from incv3d.models.importing import import_model
from incv3d.models.onnx_features import mark_features
from incv3d.models.onnx_file import external_files, read_structure
from incv3d.models.store import ModelStore
from onnx_networks import Builder, colours, resnet18, save

pytest.importorskip("onnxruntime")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def test_weights_in_other_files_are_merged_into_one(tmp_path: Path, store: ModelStore) -> None:
    """Merged, a network is the one that was saved in one file, byte for byte, before its features."""
    whole = save(resnet18(), tmp_path / "whole.onnx")
    (tmp_path / "split").mkdir()
    split = save(resnet18(), tmp_path / "split" / "split.onnx", "split.onnx.data")
    assert external_files(split) == [split.with_name("split.onnx.data")]
    merged = import_model(store, split)
    assert mark_features(whole, "input", "output")
    assert merged.network.read_bytes() == whole.read_bytes()
    assert [each.name for each in merged.directory.iterdir() if "data" in each.name] == []


def with_external(location: str, offset: int = 0, length: int | None = 20, nested: str = "") -> Any:
    """A network whose bias, five floats, lies in another file."""
    make = Builder()
    make.dense(make.add("Flatten", "input"), 12, 5, "scores")
    model = make.model([1, 3, 2, 2], {"scores": [1, 5]})
    bias = model.graph.initializer[1]
    if nested == "constant":
        model.graph.node.insert(0, helper.make_node("Constant", [], [bias.name], value=bias))
        del model.graph.initializer[1]
        bias = model.graph.node[0].attribute[0].t
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    given = {"location": location, "offset": str(offset), **({"length": str(length)} if length else {})}
    for key, value in given.items():
        entry = bias.external_data.add()
        entry.key, entry.value = key, value
    return model


@pytest.mark.parametrize(
    "location",
    ["../secret", "sub/../../secret", "/etc/hostname", "link", "linked/secret", "", ".", "/dev/zero"],
)
def test_a_network_cannot_read_files_outside_its_folder(
    tmp_path: Path, store: ModelStore, location: str
) -> None:
    folder = tmp_path / "net"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"\1" * 20)
    (folder / "link").symlink_to("../secret")
    (folder / "linked").symlink_to("..")
    (folder / "net.onnx").write_bytes(with_external(location).SerializeToString())
    with pytest.raises(ModelError, match=r"rejected: it reads|which is missing") as caught:
        import_model(store, folder / "net.onnx")
    assert "\n" not in str(caught.value) and store.models() == []
    with pytest.raises(ModelError):
        external_files(folder / "net.onnx")


def test_weights_are_taken_from_their_place_in_a_subfolder(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "sub").mkdir()
    values = np.arange(5, dtype=np.float32)
    for offset, length in ((7, 20), (7, None)):
        (tmp_path / "sub/weights").write_bytes(b"x" * offset + values.tobytes())
        model = with_external("sub/weights", offset, length)
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        merged = onnx.load(import_model(store, tmp_path / "net.onnx", replace=True).network)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(merged.graph.initializer[1]), values)
        onnx.checker.check_model(merged)


@pytest.mark.parametrize(
    ("model", "content", "complaint"),
    [
        (
            with_external("weights"),
            None,
            "its weights are in .*weights, which is missing; copy that file here",
        ),
        (with_external("weights"), b"\0" * 19, "weights: truncated"),
        (with_external("weights", 30, None), b"\0" * 20, "weights: truncated"),
        (with_external("weights", nested="constant"), b"\0" * 20, "has a constant in another file; save the"),
    ],
)
def test_missing_weights_are_one_clear_line(
    tmp_path: Path, store: ModelStore, model: Any, content: bytes | None, complaint: str
) -> None:
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    if content is not None:
        (tmp_path / "weights").write_bytes(content)
    with pytest.raises(ModelError, match=complaint):
        import_model(store, tmp_path / "net.onnx")
    assert store.models() == [] and not list(store.root.glob(".custom-*"))


def test_a_file_is_recognized_by_its_content(tmp_path: Path) -> None:
    assert kind_of(save(colours(), tmp_path / "renamed.bin")) == "onnx"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda whole: whole[:-100], "not a whole ONNX network: it is truncated"),
        (lambda whole: whole[:20], "not a whole ONNX network|not a frozen GraphDef"),
        (lambda whole: b"\x08\x07\x12\x07pytorch", "is the file whole"),
        (lambda whole: b"\x08" + os.urandom(3000), "not a"),
        (lambda whole: whole.replace(b"ReduceMean", b"ReduceMoan"), "does not know its operation ReduceMoan"),
    ],
)
def test_a_damaged_file_is_one_clear_line(
    tmp_path: Path, store: ModelStore, content: Any, complaint: str
) -> None:
    file = save(colours(), tmp_path / "net.onnx")
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(ModelError, match=complaint) as caught:
        import_model(store, file)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    assert store.models() == []


def test_damage_anywhere_is_an_error_or_a_network(tmp_path: Path) -> None:
    """Whatever bytes change, reading the structure ends, with one kind of error."""
    whole = bytearray(save(colours(), tmp_path / "net.onnx").read_bytes())
    random = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "bad.onnx").write_bytes(damaged)
        try:
            read_structure(tmp_path / "bad.onnx")
            kind_of(tmp_path / "bad.onnx")
        except ModelError as error:
            assert "\n" not in str(error)
