"""ONNX networks: what is found in the file, and what the commands say about them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from incv3d.app.prerequisites import find_mistakes
from incv3d.config.loading import load_config
from incv3d.errors import pip_install
from incv3d.models.entry import ModelError
from incv3d.models.importing import import_model
from incv3d.models.labels import read_labels
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
    from incv3d.config.custom import CustomSection
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
    from incv3d.config.custom import CustomSection
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


@pytest.mark.parametrize("kind", ["no scores", "two inputs", "text"])
def test_a_network_that_is_no_classifier_of_images_says_why(
    tmp_path: Path, store: ModelStore, kind: str
) -> None:
    """Scikit-learn and Custom Vision give maps from names to scores."""
    make = Builder()
    make.dense(make.add("Flatten", "input"), 12, 3, "scores")
    model = make.model([1, 3, 2, 2], {"scores": [1, 3]}, domains=["ai.onnx.ml"])
    complaint = r"none of its outputs is a float per class: `loss` seq\(map\(string,tensor\(float\)\)\)"
    if kind == "no scores":
        named = helper.make_node(
            "ZipMap", ["scores"], ["loss"], domain="ai.onnx.ml", classlabels_strings=list("abc")
        )
        model.graph.node.append(named)
        floats = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, floats))
        del model.graph.output[:]
        model.graph.output.append(helper.make_value_info("loss", maps))
    elif kind == "two inputs":
        model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
        complaint = r"2 inputs \(`input` tensor\(float\), `mask` tensor\(float\)\), but must have one"
    else:
        model = make.model([1, 3, 2, 2], {"scores": [1, 3]}, dtype=TensorProto.STRING)
        model.graph.node[0].CopyFrom(helper.make_node("Cast", ["input"], ["cast"], to=TensorProto.FLOAT))
        model.graph.node.insert(1, helper.make_node("Flatten", ["cast"], ["Flatten0"]))
        complaint = r"its input `input` tensor\(string\) is not an image"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=complaint):
        import_model(store, tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("{0: 'red', 1: 'lime, or green', 2: 'blue', 3: 'white', 4: \"bird's\"}", "red"),
        ("['red', 'green', 'blue', 'white', 'black']", "red"),
        ("{0: 'red'}", "class 0"),
        ("{0: 'a', 1: 'b', 2: 'c', 3: 'd', 5: 'e'}", "class 0"),
        ("{0: 1, 1: 2, 2: 3, 3: 4, 4: 5}", "class 0"),
        ("__import__('os').system('touch ran')", "class 0"),
        ("(" * 5000, "class 0"),
    ],
)
def test_names_in_the_file_are_the_labels(tmp_path: Path, store: ModelStore, names: str, first: str) -> None:
    model = colours()
    entry = model.metadata_props.add()
    entry.key, entry.value = "names", names
    lines: list[str] = []
    stored = import_model(store, save(model, tmp_path / "net.onnx"), progress=lines.append)
    labels = read_labels(stored.labels, 5)
    assert labels[0].name == first
    assert any(line.startswith("no labels: ") for line in lines) == (first == "class 0")
    if "lime" in names:
        assert (labels[1].name, labels[4].name) == ("lime, or green", "bird's")


def test_networks_of_old_exporters_list_their_weights_as_inputs(tmp_path: Path, store: ModelStore) -> None:
    """As those of the ONNX model zoo do, up to version 3 of the format."""
    model = resnet18()
    for weight in model.graph.initializer:
        named = helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
        model.graph.input.append(named)
    model.ir_version, model.opset_import[0].version = 3, 9
    entry = import_model(store, save(model, tmp_path / "old.onnx")).entry
    assert (entry.input, entry.output, entry.outputs) == ("input", "output", 1000)


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
