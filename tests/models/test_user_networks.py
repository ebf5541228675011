"""``model import``: a network of one's own from any file, with nothing said that the file says itself."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import flatbuffers
import pytest
import yaml
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from incv3d.models.entry import ModelError
from incv3d.models.importing import import_model
from incv3d.models.labels import read_labels
from incv3d.models.store import ModelStore, StoredModel
from made_once import MadeOnce
from processes import run_incv3d

pytestmark = pytest.mark.slow

NAMES = ["red", "green", "blue", "white", "black"]
QUICK = "float.tflite"
"""The form that is taken in without importing TensorFlow: for what has nothing to do with the form."""


@pytest.fixture(scope="module")
def made(made_once: MadeOnce) -> Path:
    """The colour network in many forms, and a picture of each colour."""
    folder = made_once.by("make_colours.py")
    shutil.copytree(made_once.by("make_found.py"), folder, dirs_exist_ok=True)
    for name in NAMES:
        Image.new("RGB", (90, 60), name if name != "green" else "lime").save(folder / f"{name}.png")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def put(made: Path, folder: Path, file: str, labels: str = "") -> Path:
    """Copy a network into a folder of its own, with labels beside it."""
    folder.mkdir(exist_ok=True)
    source, target = made / file, folder / file
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    if labels:
        (folder / labels).write_text("\n".join(NAMES) + "\n")
    return target


def names(model: StoredModel) -> list[str]:
    labels = read_labels(model.labels, 5)
    return [labels[index].name for index in range(5)]


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("retrain_2017.pb", ["--name", "mine", "--like", "inception-v3"]),
        ("rescaled.keras", []),
        ("augmented", []),
    ],
)
def test_a_network_is_imported_and_classifies(made: Path, tmp_path: Path, file: str, arguments) -> None:
    path = put(made, tmp_path / "mine", file, "output_labels.txt")
    done = run_incv3d(tmp_path / "state", "model", "import", str(path), *arguments)
    name = "mine" if arguments else path.stem
    assert done.returncode == 0, done.stderr
    assert f"imported {name}: 5 outputs" in done.stdout and f"`model.name: {name}`" in done.stdout
    assert f"labels: {tmp_path}/mine/output_labels.txt" in done.stderr
    assert (tmp_path / f"state/models/{name}/prepared/index.json").exists(), done.stderr
    (tmp_path / "incv3d.yaml").write_text(yaml.safe_dump({"model": {"name": name}}))
    images = [str(made / f"{each}.png") for each in NAMES]
    config = ("--config", str(tmp_path / "incv3d.yaml"))
    done = run_incv3d(tmp_path / "state", "classify", "--json", *config, *images)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["predictions"][0]["label"] for line in done.stdout.splitlines()] == NAMES


def test_its_name_is_the_file_s_and_its_labels_lie_beside_it_or_are_named(made, tmp_path, store) -> None:
    path = put(made, tmp_path / "a", QUICK, "float_labels.txt").rename(tmp_path / "a/My Birds (2).tflite")
    said: list[str] = []
    model = import_model(store, path, progress=said.append)
    assert model.name == "my-birds-2"
    assert names(model) == [f"class {i}" for i in range(5)]
    (tmp_path / "a/labels.txt").write_text("a\nb\nc\nd\ne\n")
    model = import_model(store, path, "beside", progress=said.append)
    assert names(model) == list("abcde")
    model = import_model(store, path, "named", labels=tmp_path / "a/float_labels.txt", progress=said.append)
    assert names(model) == NAMES
    assert f"labels: {tmp_path}/a/labels.txt" in said and f"labels: {tmp_path}/a/float_labels.txt" in said
    with pytest.raises(ModelError, match="the model `named` exists already; to replace it, use --replace"):
        import_model(store, path, "named")
    assert import_model(store, path, "named", replace=True).name == "named"


def test_a_flatbuffer_with_an_operation_of_tensorflow_is_refused_by_name(made, tmp_path, store) -> None:
    path = put(made, tmp_path / "a", QUICK)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].customCode = "FlexWriteFile"
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    with pytest.raises(ModelError, match=r"float\.tflite: LiteRT .*WriteFile"):
        import_model(store, path)
    assert store.models() == []


def test_labels_that_do_not_fit_keep_it_out(made: Path, tmp_path: Path, store: ModelStore) -> None:
    path = put(made, tmp_path / "a", QUICK)
    (tmp_path / "a/labels.txt").write_text("red\ngreen\n")
    with pytest.raises(ModelError, match=r"a/labels\.txt: 2 labels for a network with 5 outputs"):
        import_model(store, path)
    assert store.models() == []


def test_what_the_command_has_no_option_for_is_said_to_be_the_configuration_s(made, tmp_path, store) -> None:
    with pytest.raises(
        ModelError, match=r"set custom\.output to one of: .*in the configuration, with custom\.f"
    ):
        import_model(store, put(made, tmp_path / "a", "two_answers.pb"))
    assert store.models() == [] and not list(store.root.glob(".custom-*"))


def test_a_graph_that_is_none_of_the_known_ones_is_not_taken_for_one(made, tmp_path, store) -> None:
    with pytest.raises(ModelError, match="bytes, but the published file of inception-v3"):
        import_model(store, put(made, tmp_path / "a", "retrain_hub.pb"), "inception-v3")
    with pytest.raises(
        ModelError, match="no model name can be derived from the file's name; use --name NAME"
    ):
        import_model(store, put(made, tmp_path / "a", QUICK).rename(tmp_path / "a/inception-v3.tflite"))
    with pytest.raises(ModelError, match="has weights only, without layers; save the whole model"):
        import_model(store, put(made, tmp_path / "a", "only.weights.h5"))
    with pytest.raises(ModelError, match="rejected: it has the operation WriteFile"):
        import_model(store, put(made, tmp_path / "a", "WriteFile.pb"))
    assert store.models() == []


HINTS = {
    "net.onnx": (b"\x08\x07\x12\x07pytorch", "is the file whole?"),
    "net.ort": (b"\x00\x00\x00\x00ORTM", "ONNX Runtime's own format depends on its version; use the .onnx"),
    "net.pth": (b"\x80\x02\x8a\x0al", "a checkpoint holds weights only; export the whole network"),
    "graph.pbtxt": (
        b'node {\n  name: "x"\n}\n',
        "text graphs are not supported; write it with",
    ),
    "model.json": (b'{"class_name": "Sequential"}', "layers without weights; save the whole model"),
    "cut.h5": (b"HDF is not here", "is the file whole?"),
}


@pytest.mark.parametrize("file", HINTS)
def test_a_file_that_people_take_for_a_network_says_what_to_do(tmp_path, store, file: str) -> None:
    content, hint = HINTS[file]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=hint.replace("?", r"\?")):
        import_model(store, tmp_path / file)


def test_an_archive_with_a_network_in_it_is_to_be_unpacked(tmp_path: Path, store: ModelStore) -> None:
    for file, complaint in (
        ("model_unquant.tflite", "contains `model_unquant.tflite`; unpack it"),
        ("model.savedmodel/saved_model.pb", "contains `model.savedmodel/saved_model.pb`; unpack it"),
        ("archive/data.pkl", "it is a PyTorch file; export it where it was made"),
    ):
        with zipfile.ZipFile(tmp_path / "converted.zip", "w") as archive:
            archive.writestr(file, "x")
        with pytest.raises(ModelError, match=complaint):
            import_model(store, tmp_path / "converted.zip")
