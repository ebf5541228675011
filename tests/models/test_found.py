"""Networks in the forms in which tools leave them: told by themselves, or refused in one line."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import kind_of
from incv3d.models.graph.operations import check_graph_file, harmless_operations
from made_once import MadeOnce
from processes import run_incv3d

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
SUPPORT = Path(__file__).resolve().parents[1] / "support"
NAMES = ["red", "green", "blue", "white", "black"]
Answer = dict[str, Any]


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(SUPPORT / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def freeze(folder: Path, cases: dict[str, Answer]) -> dict[str, Answer]:
    """What freezing finds in files of `folder`, ``FILE?WHY`` each with its settings; all in one process."""
    nothing = {"input": "", "output": "", "width": 0, "height": 0, "layout": "auto"}
    jobs = []
    for number, (file, settings) in enumerate(cases.items()):
        path = folder / file.split("?")[0]
        out = {"network": str(folder / f"{number}.frozen"), "facts": str(folder / f"{number}.json")}
        jobs.append({"file": str(path), "kind": kind_of(path), **nothing, **settings, **out})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return dict(zip(cases, json.loads(run("freeze_and_label.py", str(folder / "jobs.json"))), strict=True))


@pytest.fixture(scope="module")
def found(made_once: MadeOnce) -> Path:
    return made_once.by("make_found.py")


@pytest.fixture(scope="module")
def keras2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not importlib.util.find_spec("tf_keras"):
        pytest.skip("tf_keras is not installed (the extra `keras2`)")
    folder = tmp_path_factory.mktemp("keras2")
    run("make_keras2.py", str(folder))
    return folder


RANGES: dict[str, tuple[Answer, list[float] | None]] = {
    "retrain_2017.pb": ({}, [0, 255]),
    "retrain_2017.pb?bytes": ({"input": "DecodeJpeg/contents", "output": "final_result:0"}, [0, 255]),
    "retrain_2017.pb?decoded": ({"input": "DecodeJpeg:0"}, [0, 255]),
    "retrain_2017.pb?scaled": ({"input": "Mul", "output": "final_result"}, [-1, 127 / 128]),
    "retrain_hub.pb": ({}, [0, 1]),
    "retrain_hub.pb?named": ({"input": "Placeholder:0", "output": "final_result"}, [0, 1]),
    "retrain_mobilenet.pb": ({}, None),
    "retrain_mobilenet.pb?named": ({"input": "input:0"}, None),
    "picked.pb": ({}, [0, 255]),
    "cond_v1.pb": ({}, None),
    "cond_v2.pb": ({}, None),
    "mapped.pb": ({}, None),
    "bytes_and_pixels": ({}, None),
    "bytes_and_pixels?named": ({"input": "images", "output": "probabilities"}, None),
    "two_of_pixels": ({"signature": "other", "output": "probabilities"}, None),
    "conditional": ({}, None),
    "augmented": ({}, [0, 255]),
    "rescaled.keras": ({}, [0, 255]),
    "rescaled.h5": ({}, [0, 255]),
    "arithmetic.keras": ({}, [0, 255]),
    "normalised.keras": ({}, [0, 255]),
    "bare.keras": ({}, None),
    "mixed.keras": ({}, [0, 255]),
    "half.keras": ({}, [0, 255]),
}
"""What has to be said of each file, and the pixel range that it tells by itself."""


def test_networks_as_tools_leave_them_need_nothing_said_and_give_the_right_colours(
    answers: dict[str, Answer],
) -> None:
    for case, (_, pixel_range) in RANGES.items():
        assert "error" not in answers[case], answers[case]
        assert answers[case]["labels"] == NAMES, case
        facts, declared = answers[case]["facts"], answers[case]["declared"]
        assert declared == (pixel_range and pytest.approx(pixel_range, abs=1e-6)), (case, facts)
        assert (facts["outputs"], facts["scores"]) == (5, "probabilities"), (case, facts)
    assert answers["mixed.keras"]["halves"] == [], "a CPU computes it in single precision"


BEYOND = [
    "WriteFile", "ReadFile", "PrintV2", "MatchingFiles", "PyFunc", "ImmutableConst", "SaveV2",
]  # fmt: skip

REFUSED: dict[str, tuple[Answer, str]] = {
    **{f"{op}.pb": ({}, f"rejected: it has the operation {op} (`") for op in BEYOND},
    "function-WriteFile.pb": ({}, "operation WriteFile (`WriteFile` in its function `__inference_inner"),
    "writing": ({}, "operation WriteFile (`WriteFile` in its function `__inference_writing"),
    "noisy.pb": ({}, "its scores are random (`"),
    "retrain_2017.pb?pooled": ({"input": "pool_3"}, "no input `pool_3`; found: "),
    "only_bytes": ({}, "takes pixels; found: serving_default (image_bytes: ? string)"),
    "only_bytes?named": ({"input": "image_bytes"}, "takes image_bytes: ? string, not pixels"),
    "two_of_pixels?ambiguous": (
        {},
        "set custom.signature to one of: one (images: ?x32x32x3 float32); other (images: ?x32x32x3 float32)",
    ),
    "two_of_pixels?unknown": ({"signature": "predict"}, "no signature `predict`; found: one (images: "),
    "bytes_and_pixels?input": ({"input": "pixels"}, "no signature of the SavedModel takes `pixels`; found"),
    "bytes_and_pixels?output": ({"output": "scores"}, "there is no output `scores`; found: "),
    "lookup.keras": ({}, "rejected: its layer `StringLookup` may read other files"),
    "other.keras": ({}, "rejected: its layer `TFSMLayer` may read other files"),
    "only.weights.h5": ({}, "has weights only, without layers; save the whole model"),
    "own.keras": ({}, "its layer `Own` is not part of Keras, and its code is not in the file; export it"),
    "lambda.h5": ({}, "it has a Lambda layer, which is Python code, and code in a file is never run"),
}


@pytest.fixture(scope="module")
def answers(found: Path) -> dict[str, Answer]:
    """What freezing finds in all of them."""
    put_keras_files_that_read_others(found)
    cases = {**RANGES, **REFUSED}
    assert len(cases) == len(RANGES) + len(REFUSED)
    return freeze(found, {case: settings for case, (settings, _) in cases.items()})


def test_what_reaches_beyond_the_network_or_cannot_be_told_is_refused_in_one_line(
    answers: dict[str, Answer],
) -> None:
    for case, (_, complaint) in REFUSED.items():
        error = answers[case].get("error", "")
        assert complaint in error and "\n" not in error, (case, answers[case])
    assert not list(Path.cwd().glob("written*")) and not list(HERE.glob("written*"))


def put_keras_files_that_read_others(folder: Path) -> None:
    """Write Keras files with a layer that reads other files, ``lookup.keras`` and ``other.keras``."""
    vocabulary = {"class_name": "StringLookup", "config": {"vocabulary": "/etc/hostname"}}
    network = {"class_name": "TFSMLayer", "config": {"filepath": "/srv/other", "call_endpoint": "serve"}}
    for name, layer in (("lookup", vocabulary), ("other", network)):
        inner = {"class_name": "TimeDistributed", "module": "keras.layers", "config": {"layer": layer}}
        config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [inner]}}
        with zipfile.ZipFile(folder / f"{name}.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
            archive.writestr("model.weights.h5", b"")


KERAS2_RANGES = {"saved.h5": None, "teachable.h5": None, "keras2.keras": None, "preprocessed.h5": [0, 255]}
KERAS2_REFUSED = {
    "os.h5": "rejected: it uses `os.system`",
    "get_file.h5": "rejected: it uses `keras.utils.get_file`",
    "load_model.h5": "rejected: it uses `keras.src.models.load_model`",
    "write_file.h5": "rejected: it calls `tf.io.write_file`",
    "lambda2.h5": "it has a Lambda layer",
}


@pytest.fixture(scope="module")
def keras2_answers(keras2: Path) -> dict[str, Answer]:
    """What freezing finds in all of them."""
    return freeze(keras2, {case: {} for case in (*KERAS2_RANGES, *KERAS2_REFUSED)})


def test_what_keras_2_saved_is_read_with_keras_2(keras2_answers: dict[str, Answer]) -> None:
    for case, pixel_range in KERAS2_RANGES.items():
        answer = keras2_answers[case]
        assert answer.get("labels") == NAMES, answer
        assert answer["declared"] == (pixel_range and pytest.approx(pixel_range, abs=1e-6))


def test_a_keras_2_file_that_names_anything_but_layers_is_refused(
    keras2_answers: dict[str, Answer],
) -> None:
    for case, complaint in KERAS2_REFUSED.items():
        assert complaint in keras2_answers[case].get("error", ""), keras2_answers[case]


def test_without_keras_2_its_files_name_the_way_out(keras2: Path, tmp_path: Path) -> None:
    # Found before the installed one, and as if it were not there.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'tf_keras' else find(name, *more)\n"
    )
    facts = {"network": str(tmp_path / "out"), "facts": str(tmp_path / "facts")}
    job = {"file": str(keras2 / "teachable.h5"), "kind": "keras", "input": "", "output": "", **facts}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "incv3d.models.graph.freeze",
            json.dumps(job | {"width": 0, "height": 0, "layout": "auto"}),
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{HERE.parents[1] / 'daemon'}", "PATH": "/usr/bin:/bin"},
        timeout=300,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "it was saved with Keras 2.4.0, which Keras 3" in last, last
    assert f"install Keras 2: {sys.executable} -m pip install 'tf_keras==2." in last, last


def test_the_harmless_operations_are_known_and_none_of_them_reaches_out() -> None:
    listed = "from incv3d.models.graph.core_tensorflow import import_core\nimport_core()\n"
    listed += "from tensorflow.core.framework import op_def_pb2\n"
    listed += "from tensorflow.python.client import pywrap_tf_session as session\n"
    listed += "every = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))\n"
    listed += "print(*(f'{op.name}:{op.is_stateful:d}' for op in every.op))"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, timeout=300)
    known = dict(each.split(":") for each in done.stdout.split())
    assert len(known) > 1000, done.stderr[-2000:]
    harmless = harmless_operations()
    assert not harmless - set(known), "operations that TensorFlow does not have"
    words = ("File", "Reader", "Dataset", "Iterator", "PyFunc", "Save", "Restore", "Summary", "Rpc", "Send",
             "Recv", "Debug", "Dump", "Queue", "TPU", "Collective", "Barrier", "Proto")  # fmt: skip
    assert not [op for op in harmless if any(word in op for word in words)]
    # What keeps a state or has an effect is allowed by its kind alone.
    kinds = ("Assert", "AssignVariable", "Check", "Empty", "GuaranteeConst", "HashTable", "If", "Case",
             "InitializeTable", "While", "LookupTable", "MutableHashTable", "Multinomial", "NonDeterministic",
             "Parameterized", "Print", "Random", "ReadVariable", "ResourceGather", "Rng", "SampleDistorted",
             "Stack", "Stateful", "StatelessRandomGetAlg", "TensorArray", "TruncatedNormal", "Var", "_Arg",
             "_Retval")  # fmt: skip
    stateful = [op for op in harmless if known[op] == "1"]
    assert not [op for op in stateful if not op.startswith(kinds)]
    assert "PrintV2" not in harmless and "InitializeTableFromTextFileV2" not in harmless


def test_operations_are_checked_without_tensorflow(found: Path) -> None:
    for file in ("WriteFile.pb", "function-WriteFile.pb"):
        with pytest.raises(ModelError, match=f"{file}: rejected: it has the operation WriteFile"):
            check_graph_file(found / file, found / file)
    check_graph_file(found / "cond_v2.pb", found / "cond_v2.pb")


def classify(state: Path, custom: Answer, *images: Path) -> dict[str, str]:
    """The best label of each picture, by configuration alone."""
    (state.parent / "incv3d.yaml").write_text(yaml.safe_dump({"custom": custom}))
    config = ("--config", str(state.parent / "incv3d.yaml"))
    done = run_incv3d(state, "classify", "--json", *config, *map(str, images))
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    return {Path(each["picture"]).stem: each["predictions"][0]["label"] for each in answers}


def test_retrain_s_graph_runs_prepared_with_its_labels_alone(found: Path, tmp_path: Path) -> None:
    shutil.copyfile(found / "retrain_2017.pb", tmp_path / "output_graph.pb")
    (tmp_path / "output_labels.txt").write_text("\n".join(NAMES) + "\n")
    for name in NAMES:
        Image.new("RGB", (90, 60), name if name != "green" else "lime").save(tmp_path / f"{name}.png")
    custom = {
        "file": str(tmp_path / "output_graph.pb"),
        "labels": str(tmp_path / "output_labels.txt"),
        "golden_picture": str(tmp_path / "blue.png"),
        "golden_label": "blue",
    }
    images = [tmp_path / f"{name}.png" for name in NAMES]
    assert classify(tmp_path / "state", custom, *images) == {name: name for name in NAMES}
    assert (tmp_path / "state/models/custom/prepared/index.json").exists()


CASES: dict[str, Answer] = {
    "output_graph_2017.pb": {},
    "tutorial.keras": {},
    "tm_keras_model.h5": {},
    "tutorial_saved": {"pixel_range": [0, 255]},
    "two_sigs_saved": {"input": "images", "output": "probabilities", "pixel_range": [0, 1]},
}


@pytest.mark.parametrize("file", CASES)
def test_the_pictures_of_others_networks_get_their_labels(shared: Path, tmp_path: Path, file: str) -> None:
    models, images = shared / "cases/models", sorted((shared / "cases/pics").glob("*.png"))
    if not models.is_dir():
        pytest.skip(f"{models} is not there")
    if file.startswith("tm_") and not importlib.util.find_spec("tf_keras"):
        pytest.skip("tf_keras is not installed (the extra `keras2`)")
    custom = {"file": str(models / file), "labels": str(models / "output_labels.txt"), **CASES[file]}
    names = (models / "output_labels.txt").read_text().splitlines()
    assert classify(tmp_path / "state", custom, *images) == {
        image.stem: names[int(image.stem[0])] for image in images
    }
