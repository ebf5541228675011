"""Models on the engine that their format needs, and the real daemon with each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from incv3d.client import Client, Refused
from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config, ModelSection, SessionSection
from incv3d.frames import Frame
from incv3d.images.demo import demo_folder
from incv3d.models.catalog import load_catalog
from incv3d.models.conversions import DESCRIPTION
from incv3d.models.entry import ModelEntry
from incv3d.models.store import FLATBUFFER, GRAPH, LABELS, ModelStore
from incv3d.pipeline.loader import load_classifier
from incv3d.pipeline.session_spec import should_cache_filters
from made_once import MadeOnce
from processes import DaemonProcess, run_incv3d

pytestmark = pytest.mark.slow

MAKE = Path(__file__).parents[1] / "support" / "make_tflite.py"
CAT = demo_folder() / "cat.jpg"


def make_tflite(*words: str) -> None:
    done = subprocess.run([sys.executable, str(MAKE), *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def add(store: ModelStore, name: str, entry: ModelEntry, file: Path, labels: str) -> None:
    with store.adding(name, entry) as folder:
        shutil.copyfile(file, folder / FLATBUFFER)
        (folder / LABELS).write_text(labels)


@pytest.fixture(scope="module")
def small(made_once: MadeOnce) -> Path:
    """A state directory with small networks of five classes as .tflite: `float`, `int8` and `logits`."""
    folder = made_once.by("make_tflite.py", "small")
    store = ModelStore(folder)
    labels = "".join(f"{index}\t\tclass number {index}\n" for index in range(5))
    for kind in ("float", "int8", "logits"):
        entry = ModelEntry(
            format="tflite", input="", output="", height=8, width=8, mean=128, scale=128, fit="stretch",
            interpolation="bilinear", outputs=5, scores="logits" if kind == "logits" else "probabilities",
        )  # fmt: skip
        add(store, kind, entry, folder / f"{kind}.tflite", labels)
    return folder


@contextmanager
def daemon(state: Path, folder: Path, *words: str, **extra: str) -> Iterator[DaemonProcess]:
    process = DaemonProcess(state, folder, *words, **extra)
    try:
        yield process
    finally:
        process.kill()


def test_a_tflite_model_is_served_by_litert(small: Path, tmp_path: Path) -> None:
    with daemon(small, tmp_path, "--model", "float") as process:
        assert "float on litert" in process.ready().said[-1]
        with Client(process.door) as client:
            answer = client.classify(CAT)
            assert answer.predictions and len(answer.predictions) == 5
            assert sum(each.score for each in answer.predictions) == pytest.approx(1, abs=1e-4)
            with pytest.raises(Refused, match="bad_image"):
                client.classify(CAT.read_bytes()[:3000])
            session = client.ask("info")["session"]
            assert (session["engine"], session["runs_at_once"]) == ("litert", 1)
        assert process.stop() == 0
        assert "engine=litert" in process.log.read_text()
        assert not any("XNNPACK" in line for line in process.said), process.said


def test_logits_and_quantised_scores_come_out_as_the_same_probabilities(small: Path) -> None:
    def scores(model: str) -> dict[int, float]:
        done = run_incv3d(small, "classify", "--json", "--model", model, str(CAT))
        assert done.returncode == 0, done.stderr
        return {each["index"]: each["score"] for each in json.loads(done.stdout)["predictions"]}

    want = scores("float")
    assert scores("logits") == pytest.approx(want, abs=1e-5)
    assert scores("int8") == pytest.approx(want, abs=0.03)


def test_an_engine_that_cannot_run_the_model_is_said_so_in_one_line(small: Path) -> None:
    config = small / "tensorflow.yaml"
    config.write_text("model: {name: float}\nsession: {engine: tensorflow}\n")
    done = run_incv3d(small, "classify", "--config", str(config), str(CAT))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert (
        "session.engine: tensorflow runs frozen graphs only; `float` is a .tflite model: set litert"
        in done.stderr
    )


def test_a_graph_is_converted_once_for_litert(state: Path, tmp_path: Path) -> None:
    name = "efficientnet-lite0"
    shutil.copytree(state / "models" / name, tmp_path / "models" / name)
    config = tmp_path / "litert.yaml"
    config.write_text(f"model: {{name: {name}}}\nsession: {{engine: litert}}\n")
    words = ("classify", "--json", "--config", str(config), str(CAT))
    facts = tmp_path / "models" / name / "litert-float32" / DESCRIPTION
    first, made = run_incv3d(tmp_path, *words), facts.read_bytes()
    second = run_incv3d(tmp_path, *words)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert json.loads(first.stdout)["predictions"] == json.loads(second.stdout)["predictions"]
    assert facts.read_bytes() == made


def test_a_named_engine_that_fits_is_taken(small: Path) -> None:
    config = Config(model=ModelSection(name="float"), session=SessionSection(engine="litert"))
    loaded = load_classifier(config, ModelStore(small), warmup_runs=3)
    assert loaded.facts.engine == "litert" and loaded.warmup.runs_ms
    with pytest.raises(ConfigError):
        wrong = Config(model=ModelSection(name="float"), session=SessionSection(engine="tensorflow"))
        load_classifier(wrong, ModelStore(small), warmup_runs=0)


@pytest.mark.parametrize(
    ("head", "why"),
    [(b"", "not a LiteRT model (.tflite)"), (b"\x1c\0\0\0TFL3", "damaged or truncated: ")],
)
def test_a_damaged_flatbuffer_ends_the_daemon_for_good_with_one_line(
    small: Path, tmp_path: Path, head: bytes, why: str
) -> None:
    state = tmp_path / "state"
    shutil.copytree(small / "models/float", state / "models/float")
    file = state / "models/float" / FLATBUFFER
    file.write_bytes(head.ljust(file.stat().st_size, b"\xff"))
    with daemon(state, tmp_path, "--model", "float") as process:
        assert process.wait() == 2
        assert f"{file}: {why}" in process.said[-1], process.said


def test_a_damaged_graph_ends_the_daemon_for_good_with_one_line(tmp_path: Path) -> None:
    entry = ModelEntry(
        format="graphdef", input="in:0", output="out:0", height=8, width=8, mean=128, scale=128,
        fit="stretch", interpolation="bilinear", outputs=1, scores="probabilities",
    )  # fmt: skip
    with ModelStore(tmp_path).adding("odd", entry) as folder:
        (folder / GRAPH).write_bytes(b"\xff" * 1000)
        (folder / LABELS).write_text("0\t\tthing\n")
    with daemon(tmp_path, tmp_path, "--model", "odd") as process:
        assert process.wait() == 2
        assert f"{tmp_path}/models/odd/{GRAPH}: not a frozen GraphDef" in process.said[-1], process.said


def test_the_stand_in_gives_the_same_labels_through_litert(
    standin: Path, shared: Path, tmp_path: Path
) -> None:
    converted = tmp_path / "standin.tflite"
    graph = standin / "models/standin/graph.pb"
    make_tflite("convert", str(graph), "Mul:0", "softmax:0", "299", str(converted))
    entry = msgspec.structs.replace(
        load_catalog()["inception-v3"], format="tflite", in_graph=None, golden=None, url=""
    )
    store = ModelStore(tmp_path)
    add(store, "lite", entry, converted, (standin / "models/standin" / LABELS).read_text())

    def answers(where: ModelStore, model: str) -> np.ndarray:
        config = Config(model=ModelSection(name=model), session=SessionSection(preprocess="fast"))
        classifier = load_classifier(config, where, warmup_runs=0).classifier
        try:
            frames = [
                Frame("test", path.read_bytes(), None, received=0.0, captured=0.0)
                for path in sorted((shared / "images").iterdir())
            ]
            return np.stack([classifier.session.run(classifier.prepare(each).feed) for each in frames])
        finally:
            classifier.session.close()

    tensorflow, litert = answers(ModelStore(standin), "standin"), answers(store, "lite")
    assert len(tensorflow) >= 100
    assert np.mean(tensorflow.argmax(axis=1) == litert.argmax(axis=1)) >= 0.99
    assert np.abs(tensorflow - litert).max() < 1e-3


def test_exact_is_the_graphs_own_decoding_in_the_daemon(standin: Path, shared: Path, tmp_path: Path) -> None:
    expected = json.loads((shared / "models/expected.json").read_text())
    with daemon(standin, tmp_path, "--model", "standin", INCV3D_PREPROCESS="exact") as process:
        process.ready()
        with Client(process.door) as client:
            for name, top_five in expected.items():
                predictions = client.classify(shared / "images" / name).predictions or []
                assert [p.index for p in predictions] == [index for index, _, _ in top_five], name
                scores = [p.score for p in predictions]
                assert scores == pytest.approx([score for _, _, score in top_five], abs=2e-5), name
            whole = CAT.read_bytes()
            half = len(whole) // 2
            for _ in range(4):
                for damaged in (whole[:half], whole[:half] + b"\xff\xd9", whole[:100] + b"\xff\xd9"):
                    with pytest.raises(Refused, match="bad_image: damaged JPEG"):
                        client.classify(damaged)
            assert client.classify(CAT).status == "ok"
            totals = client.ask("stats")["outcomes"]
            assert totals["bad_image"] == 12 and not totals.get("internal")
        assert process.stop() == 0
        assert not any("JPEG" in line for line in process.said), process.said


@pytest.mark.parametrize(
    ("asked", "limit_mb", "caches"),
    [
        ("auto", 7900.0, True),
        ("auto", 2048.0, True),
        ("auto", 914.0, False),
        ("auto", None, False),
        (True, 914.0, True),
        (False, 7900.0, False),
    ],
)
def test_filters_are_cached_where_there_is_memory_unless_it_is_said(asked, limit_mb, caches) -> None:
    assert should_cache_filters(asked, limit_mb) is caches
