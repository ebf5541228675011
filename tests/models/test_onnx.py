"""ONNX networks: what is found in the file, and that nothing outside its folder is read."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from incv3d.app.prerequisites import find_mistakes
from incv3d.config.loading import load_config
from incv3d.errors import pip_install
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import kind_of
from incv3d.models.importing import import_model
from incv3d.models.onnx_file import external_files, read_structure
from incv3d.models.store import ModelStore
from onnx_networks import COLOURS, Builder, colours, resnet18, save
from processes import run_incv3d

pytest.importorskip("onnxruntime")
NAMES = ["red", "green", "blue", "white", "black"]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def test_a_network_says_what_it_is_and_runs(tmp_path: Path) -> None:
    file = save(colours(softmax=False), tmp_path / "colours.onnx")
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    state = tmp_path / "state"
    done = run_incv3d(state, "model", "import", str(file))
    assert done.returncode == 0, done.stderr
    assert "torchvision's: mean 0.485, 0.456, 0.406, std" in done.stderr
    assert "imported colours: 5 outputs" in done.stdout
    assert "minutes" not in done.stderr
    shown = run_incv3d(state, "model", "show", "colours").stdout
    assert "ONNX" in shown and "5 logits" in shown and "input, 32x32, rgb, nchw" in shown
    assert "prepared" not in shown
    assert "colours" in run_incv3d(state, "model", "list").stdout
    assert run_incv3d(state, "model", "verify", "colours").stdout == "colours: ok\n"
    images = []
    for name, colour in zip(NAMES, COLOURS, strict=True):
        images.append(tmp_path / f"{name}.png")
        Image.new("RGB", (90, 60), tuple(int(255 * each) for each in colour)).save(images[-1])
    config = tmp_path / "incv3d.yaml"
    config.write_text("model: {name: colours}\n")
    done = run_incv3d(state, "classify", "--config", str(config), *map(str, images))
    assert done.returncode == 0, done.stderr
    best = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert all(any(name in line for line in best) for name in NAMES)
    for command, complaint in (
        (
            ("convert", "colours", "--to", "int8", "--pictures", str(images[0])),
            "ONNX Runtime runs directly; it",
        ),
        (("export", "colours", str(tmp_path / "out.tar")), "is an .onnx network, which needs no preparation"),
    ):
        done = run_incv3d(state, "model", *command)
        assert done.returncode and complaint in done.stderr and "Traceback" not in done.stderr
    for engine in ("litert", "tensorflow"):
        config.write_text(f"model: {{name: colours}}\nsession: {{engine: {engine}}}\n")
        done = run_incv3d(state, "check-config", "--config", str(config))
        assert done.returncode == 2 and f"session.engine: {engine} runs" in done.stderr
        assert "`colours` is an .onnx network: set onnx or auto" in done.stderr
    config.write_text("model: {name: colours}\nsession: {engine: onnx}\n")
    assert run_incv3d(state, "check-config", "--config", str(config)).returncode == 0
    assert run_incv3d(state, "model", "remove", "colours").returncode == 0


def test_a_missing_library_is_found_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(colours(), tmp_path / "net.onnx")
    path = tmp_path / "incv3d.yaml"
    path.write_text(f"custom: {{file: {tmp_path}/net.onnx}}\n")
    loaded, environ = load_config(str(path), {}), {"STATE_DIRECTORY": str(tmp_path / "state")}
    assert find_mistakes(loaded, environ) == []
    monkeypatch.setattr(
        "incv3d.engines.base.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    (mistake,) = find_mistakes(loaded, environ)
    assert (
        mistake.key == "session.engine" and "net.onnx runs on onnx, whose library is missing" in mistake.what
    )
    assert mistake.what.endswith(pip_install("onnxruntime"))


def test_weights_in_other_files_are_merged_into_one(tmp_path: Path, store: ModelStore) -> None:
    """Merged, a network is the one that was saved in one file, byte for byte."""
    whole = save(resnet18(), tmp_path / "whole.onnx")
    (tmp_path / "split").mkdir()
    split = save(resnet18(), tmp_path / "split" / "split.onnx", "split.onnx.data")
    assert external_files(split) == [split.with_name("split.onnx.data")]
    merged = import_model(store, split)
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


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        (colours(), -2.1179, 2.2489),
        (colours("nhwc"), -1, 1),
        (colours(dtype=TensorProto.UINT8), 0, 255),
        (colours(shape=["n", "c", "h", "w"]), -2.1179, 2.2489),
    ],
)
def test_pixels_are_those_usual_for_the_layout_or_the_type(
    tmp_path: Path, store: ModelStore, model: Any, low: float, high: float
) -> None:
    from incv3d.config.schema import CustomSection
    from incv3d.models.custom import add_network

    file = save(model, tmp_path / "net.onnx")
    section = CustomSection(file=str(file), width=32, height=32)
    with store.exclusively():
        add_network(section, "onnx", "net", store)
    entry = store.get("net").entry
    np.testing.assert_allclose(entry.pixel_ranges[0], (low, high), atol=1e-3)


def test_arithmetic_at_the_start_says_what_pixels_are_expected(tmp_path: Path, store: ModelStore) -> None:
    """As an exported ``Sequential(Normalize(mean, std), network)`` and ``x / 255`` have it."""
    for first, want in (("torchvision", (0, 1)), ("bytes", (0, 255))):
        make = Builder()
        fed = "input"
        if first == "bytes":
            fed = make.add("Div", fed, make.weight(255.0))
        fed = make.add("Sub", fed, make.weight(np.float32([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)))
        fed = make.add("Div", fed, make.weight(np.float32([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)))
        make.dense(make.pooled(make.conv(fed, 3, 8, 3)), 8, 5, "scores")
        file = save(make.model([1, 3, 16, 16], {"scores": [1, 5]}), tmp_path / f"{first}.onnx")
        entry = import_model(store, file).entry
        np.testing.assert_allclose(entry.pixel_ranges, [want], atol=1e-6)
        assert "its first layers" in entry.pixels_from


def test_several_outputs_are_listed_and_one_can_be_named(tmp_path: Path, store: ModelStore) -> None:
    make = Builder()
    flat = make.add("Flatten", "input")
    make.dense(flat, 12, 5, "first")
    make.dense(flat, 12, 7, "second")
    model = make.model([1, 3, 2, 2], {"first": [1, 5], "second": [1, 7]})
    file = save(model, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"set custom\.output to one of: first, second"):
        import_model(store, file)
    from incv3d.config.schema import CustomSection
    from incv3d.models.custom import add_network

    with store.exclusively():
        add_network(CustomSection(file=str(file), output="second"), "onnx", "net", store)
    assert store.get("net").entry.outputs == 7


def test_a_class_number_beside_the_scores_is_not_taken_for_them(tmp_path: Path, store: ModelStore) -> None:
    make = Builder()
    scores = make.dense(make.add("Flatten", "input"), 12, 5, "scores")
    make.add("ArgMax", scores, output="best", axis=1)
    model = make.model([1, 3, 2, 2], {"scores": [1, 5]})
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, [1, 1]))
    assert import_model(store, save(model, tmp_path / "net.onnx")).entry.output == "scores"


def test_the_labels_and_the_other_settings_are_the_configuration_s(tmp_path: Path) -> None:
    """And a network is imported again when the file with its weights changes."""
    make = {seed: colours(softmax=False) for seed in (0, 1)}
    bias = make[1].graph.initializer[1]
    bias.raw_data = np.float32([0, 0, 99, 0, 0]).tobytes()
    state, config = tmp_path / "state", tmp_path / "incv3d.yaml"
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    config.write_text(
        f"custom: {{file: {tmp_path}/net.onnx, labels: {tmp_path}/names.txt}}\n"
        f"model: {{name: mine, top_k: 1}}\n"
    )
    for seed, want in ((0, "red"), (1, "blue")):
        save(make[seed], tmp_path / "net.onnx", "net.onnx.data")
        os.utime(tmp_path / "net.onnx", (1e9, 1e9))
        os.utime(tmp_path / "net.onnx.data", (1e9 + seed, 1e9 + seed))
        done = run_incv3d(state, "classify", "--config", str(config), str(tmp_path / "red.png"))
        assert done.returncode == 0 and want in done.stdout, (done.stdout, done.stderr)
