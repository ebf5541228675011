"""What is made of a model for LiteRT and for TensorFlow, with either of them installed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import graphs
from incv3d.config.loading import ConfigError
from incv3d.models.conversions import Conversion, open_conversion
from incv3d.models.flatbuffer.float32 import ensure_float32, find_float32
from incv3d.models.prepare import UnrunnableError, is_prepared
from incv3d.models.readiness import needs_conversion, readiness_check
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel
from incv3d.pipeline.loader import choose_conversion, make_conversion
from processes import DaemonProcess, run_incv3d
from tiny_models import ENTRY, SIDE, add_rgb

DIGAMMA = graphs.placeholder("pixels", 1, SIDE, SIDE, 3) + graphs.node(
    "scores", "Digamma", "pixels", attributes=graphs.dtype("T")
)


@pytest.fixture(scope="module")
def litert_only(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which TensorFlow cannot be imported, as where it is not installed."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    return {"PYTHONPATH": str(folder)}


def add(state: Path, engine: str, graph: bytes = b"") -> tuple[StoredModel, list[str]]:
    """Add the tiny network as an import does; return it and the lines that were printed."""
    said: list[str] = []
    store = ModelStore(state)
    with store.adding("rgb", ENTRY, check=readiness_check(engine, said.append)) as folder:
        (folder / GRAPH).write_bytes(graph or graphs.strongest_channel(SIDE))
        (folder / LABELS).write_text("0\t\tred\n1\t\tgreen\n2\t\tblue\n")
    return store.get("rgb"), said


def test_an_import_makes_what_the_configured_engine_needs(tmp_path: Path) -> None:
    model, said = add(tmp_path / "litert", "litert")
    assert find_float32(model) and not is_prepared(model)
    assert said == ["converting rgb to float32 for LiteRT"]
    facts = open_conversion(model, "float32").facts
    assert facts.agreement.startswith("largest score difference ")
    assert facts.converter.startswith("incv3d-") and facts.check and facts.check.images == 2
    found = choose_conversion("litert", model)
    assert found and found.facts == facts

    model, said = add(tmp_path / "auto", "auto")
    assert find_float32(model) and is_prepared(model) and len(said) == 2
    model, said = add(tmp_path / "tensorflow", "tensorflow")
    assert not find_float32(model) and is_prepared(model) and len(said) == 1


def test_a_network_that_only_tensorflow_converts_is_imported_nevertheless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnrunnableError):  # TensorFlow runs it, and finds too many scores
        add(tmp_path, "auto", DIGAMMA)
    assert "not converted for LiteRT: rgb: not supported: the operation Digamma" in caplog.text
    model, _ = add(tmp_path / "litert", "litert", DIGAMMA)
    with pytest.raises(ConfigError, match=r"Digamma .*incv3d model convert rgb --to float32 --pictures"):
        make_conversion("litert", model, ModelStore(tmp_path / "litert"), print)


def test_an_import_with_damaged_weights_changes_nothing(tmp_path: Path) -> None:
    wrong = graphs.placeholder("pixels", 1, SIDE, SIDE, 3) + graphs.relu("scores", "pixels")
    with pytest.raises(UnrunnableError, match="returns 3072 scores instead of 3"):
        add(tmp_path, "litert", wrong)
    assert not ModelStore(tmp_path).names()


def test_a_missing_conversion_is_made_once_and_kept(tmp_path: Path) -> None:
    model, store, said = add_rgb(tmp_path), ModelStore(tmp_path), []
    made = ensure_float32(model, store, said.append)
    assert ensure_float32(model, store, said.append) == made and len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_only_graphs_need_a_conversion_and_only_litert_only() -> None:
    assert needs_conversion("litert", "graphdef") and not needs_conversion("auto", "graphdef")
    assert not needs_conversion("tensorflow", "graphdef") and not needs_conversion("litert", "tflite")


def test_descriptions_of_older_versions_are_read() -> None:
    figures = {"engine": "x", "run_ms": 1, "peak_memory_mb": 1, "size_bytes": 1, "distinct_scores": 1}
    older = {
        "format": 1, "precision": "float32", "source_sha256": "", "converter": "tensorflow-2.21",
        "converted_at": "", "calibration_pictures": 0, "size_bytes": 7, "sha256": "",
        "comparison": {
            "pictures": 2, "top1_agreement": 0.985, "top5_agreement": 1, "largest_difference": 0,
            "median_difference": 0, "threads": 1, "session": figures, "conversion": figures,
        },
        "golden_score": None,
    }  # fmt: skip
    facts = msgspec.json.decode(json.dumps(older), type=Conversion)
    assert facts.agreement == "top-1 agreement 98.5 %"


def test_a_start_on_litert_litert_only_builds_converts_and_classifies(
    tmp_path: Path, litert_only: dict[str, str]
) -> None:
    process = DaemonProcess(tmp_path / "state", tmp_path, "--model", "efficientnet-lite0", **litert_only)
    try:
        process.ready()
        assert "efficientnet-lite0 on litert" in process.said[-1] and ", float32, " in process.said[-1]
        assert process.stop() == 0
    finally:
        process.kill()
    model = ModelStore(tmp_path / "state").get("efficientnet-lite0")
    assert find_float32(model) and not is_prepared(model)


def test_litert_only_its_absence_is_said_where_it_is_needed(
    tmp_path: Path, litert_only: dict[str, str]
) -> None:
    add_rgb(tmp_path, DIGAMMA)
    (tmp_path / "c.yaml").write_text("model: {name: rgb}\nsession: {engine: auto}\n")
    done = run_incv3d(tmp_path, "model", "prepare", "--config", str(tmp_path / "c.yaml"), **litert_only)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "not supported: the operation Digamma (`scores`); TensorFlow may run it: " in last
    (tmp_path / "c.yaml").write_text("model: {name: rgb}\nsession: {engine: tensorflow}\n")
    done = run_incv3d(tmp_path, "check-config", "--config", str(tmp_path / "c.yaml"), **litert_only)
    assert done.returncode == 2 and "rgb runs on tensorflow, whose library is missing" in done.stderr


def test_the_standin_is_imported_litert_only(
    shared: Path, tmp_path: Path, litert_only: dict[str, str]
) -> None:
    archive = str(shared / "models/inception-2015-12-05-standin.tgz")
    words = ("model", "import", archive, "--name", "standin", "--like", "inception-v3")
    done = run_incv3d(tmp_path, *words, **litert_only)
    assert done.returncode == 0, done.stderr
    model = ModelStore(tmp_path).get("standin")
    facts = open_conversion(model, "float32").facts
    assert facts.check and facts.check.largest_difference <= 1e-5 and not is_prepared(model)
