"""``incv3d teach export``: one network that says the same elsewhere."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from incv3d.config.schema import Config, ModelSection, SessionSection
from incv3d.engines.base import Feed
from incv3d.frames import Frame
from incv3d.models.store import ModelStore
from incv3d.pipeline.loader import load_classifier
from processes import run_incv3d
from taught_models import add_base, picture, teach

CLASSES = ("a", "b", "c")


def run_alone(network: Path, feeds: list[Feed]) -> np.ndarray:
    """Run a network with LiteRT only."""
    interpreter = Interpreter(str(network))
    interpreter.allocate_tensors()
    (taken,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for feed in feeds:
        interpreter.set_tensor(taken["index"], np.asarray(feed).reshape(taken["shape"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(made["index"])[0].copy())
    return np.array(found)


@pytest.mark.parametrize("threshold", [0.0, 0.999, 1.1])
def test_litert_alone_gives_the_scores_of_the_daemon(tmp_path: Path, threshold: float) -> None:
    add_base(tmp_path)
    teach(tmp_path, "mine", CLASSES, threshold, is_golden=False)
    out = tmp_path / "mine.tflite"
    done = run_incv3d(tmp_path, "teach", "export", "mine", str(out))
    assert done.returncode == 0, done.stderr
    names = out.with_suffix(".txt").read_text().split()
    assert names == [*CLASSES, "unknown"]
    config = Config(model=ModelSection(name="mine"), session=SessionSection(engine="litert"))
    classifier = load_classifier(config, ModelStore(tmp_path), 0, lambda line: None).classifier
    feeds, said = [], []
    with contextlib.closing(classifier):
        for number in range(12):
            now = time.monotonic()
            prepared = classifier.prepare(Frame("x", picture(number), None, now, now, top_k=9))
            feeds.append(prepared.feed)
            said.append({each.label: each.score for each in classifier.classify(prepared).predictions})
    alone = run_alone(out, feeds)
    expected = np.array([[each.get(name, 0.0) for name in names] for each in said])
    np.testing.assert_allclose(alone, expected, atol=2e-5)
    assert (alone.argmax(axis=1) == expected.argmax(axis=1)).all(), "all labels are equal"


@pytest.mark.slow
def test_another_incv3d_runs_it_with_the_configuration_that_is_printed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    add_base(state)
    teach(state, "mine", CLASSES)
    done = run_incv3d(state, "teach", "export", "mine", str(tmp_path / "mine.tflite"))
    (tmp_path / "other.yaml").write_text(f"{done.stdout}session: {{engine: litert}}\n")
    images = []
    for number in range(6):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
        images.append(str(tmp_path / f"{number}.jpg"))
    words = ("classify", "--top-k", "1", "--json", *images)
    here = run_incv3d(state, *words, "--model", "mine")
    there = run_incv3d(tmp_path / "elsewhere", *words, "--config", str(tmp_path / "other.yaml"))
    assert there.returncode == 0, there.stderr
    labels = [line.split('"label":"')[1].split('"')[0] for line in here.stdout.splitlines()]
    assert labels == [line.split('"label":"')[1].split('"')[0] for line in there.stdout.splitlines()]


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    done = run_incv3d(tmp_path, "teach", "export", "mine", str(tmp_path / "mine.tflite"))
    assert done.returncode == 1 and "no taught model `mine`" in done.stderr
    done = run_incv3d(tmp_path, "teach", "export", "mine", str(tmp_path / "mine.pb"))
    assert done.returncode == 2 and "FILE must end in .tflite" in done.stderr
