"""The daemon's conversion of its own model: what begins it, and what follows each end."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flatbuffers_by_hand import CLASSES
from incv3d.app import tuner as tuner_module
from incv3d.app import tuning_conversion
from incv3d.app.tuner import WANTED, obstacle
from incv3d.config.schema import Config
from incv3d.frames import Frame
from incv3d.models.entry import ModelError
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.store import ModelStore
from incv3d.models.tuning import TuningJob, TuningVerdict
from incv3d.models.tuning_tries import read_tries
from processes import PATIENCE_S
from tunable_models import SIDE, add_tunable, scene
from tuner_bench import PERIOD_S, SOURCE, Bench, config, failed, kept, rejected, wait_for


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return add_tunable(tmp_path / "state")


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_conversion, "spare_memory_mb", lambda configured_mb: 5000.0)


def test_frames_are_collected_and_converted_and_the_model_is_loaded_again(store: ModelStore) -> None:
    bench = Bench(store, kept)
    assert bench.tuner.status().state == "collecting"
    bench.show(WANTED[0])
    status = bench.tuner.status()
    assert (status.frames, status.wanted, status.tries) == (WANTED[0], WANTED[0], 0)
    assert bench.convert()
    status = bench.tuner.status()
    assert status.state == "kept" and status.agreement == 1.0 and status.frames == 0
    (job,) = bench.jobs
    assert len(job.calibrating) == len(job.held_back) == WANTED[0] // 2
    assert not {*job.calibrating} & {*job.held_back} and job.min_agreement == 0.97 and job.threads == 1
    assert bench.tuner.facts()["agreement"] == "1.0000"
    assert [each.problem for each in read_tries(store.get("tunable"))] == [""]


def test_the_child_gets_the_pixels_that_the_network_is_fed_with(store: ModelStore) -> None:
    seen = []

    def look(job: TuningJob) -> TuningVerdict:
        pixels = PixelFile(Path(job.pixels), (1, SIDE, SIDE, 3))
        seen.extend(pixels.read(number) for number in (0, WANTED[0] - 1))
        assert not Path(job.pixels).exists() or "/proc/" in job.pixels
        return rejected(job)

    bench = Bench(store, look)
    bench.show(WANTED[0])
    bench.convert()
    preprocessor = tuner_module.Tuning(
        config(), store, store.get("tunable"), None, kept  # type: ignore[arg-type]
    )._preprocessor  # fmt: skip
    for number, pixels in zip((0, WANTED[0] - 1), seen, strict=True):
        frame = Frame("porch", scene(number).tobytes(), "rgb24", 0.0, 0.0, 64, 48)
        assert np.abs(pixels - preprocessor(frame)).mean() < 0.05


def test_nothing_begins_before_the_period_is_over_or_with_too_few_frames(store: ModelStore) -> None:
    bench = Bench(store, kept)
    bench.show(WANTED[0])
    bench.tuner.look(PERIOD_S - 1)
    assert bench.tuner.status().state == "collecting"
    bench = Bench(store, kept)
    bench.show(WANTED[0] - 1)
    bench.tuner.look(bench.now)
    assert bench.tuner.status().state == "collecting"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"still": True}, "the scene is too still: 1 of 60 distinct frames so far"),
        ({"dark": True}, "3 of 3 frames are dark or blank"),
    ],
)
def test_a_still_or_dark_scene_is_said_once(
    store: ModelStore, caplog: pytest.LogCaptureFixture, shown: dict[str, bool], said: str
) -> None:
    bench = Bench(store, kept)
    bench.show(3, **shown)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            bench.tuner.look(bench.now)
    assert [record.getMessage() for record in caplog.records] == [f"tuning: porch: {said}"]
    assert bench.tuner.status().reason == said and not bench.jobs


def test_frames_of_clients_are_left_out(store: ModelStore) -> None:
    bench = Bench(store, kept)
    bench.show(3, request=True)
    assert bench.tuner.status().frames == 0


def test_what_does_not_agree_is_tried_again_with_more_frames_and_given_up_in_the_end(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(store, rejected)
    shown = 0
    for tries, wanted in enumerate(WANTED, start=1):
        bench.show(wanted - shown)
        shown = wanted
        with caplog.at_level(logging.WARNING):
            assert not bench.convert()
        assert bench.tuner.status().tries == tries
        before = bench.now
        bench.tuner.look(before)
        assert bench.tuner.status().state != "converting"
    status = bench.tuner.status()
    assert status.state == "given_up" and status.reason == "it does not agree"
    assert "next try with 75 frames, in 17 min" in caplog.text
    assert "given up after 3 tries" in caplog.text and len(bench.jobs) == 3
    again = Bench(store, kept)
    assert again.tuner.status().state == "given_up", "a restart begins again"


def test_a_child_that_is_killed_counts_as_a_try(store: ModelStore) -> None:
    bench = Bench(store, failed)
    bench.show(WANTED[0])
    assert not bench.convert()
    status = bench.tuner.status()
    assert status.state == "collecting" and "killed by signal 9" in status.reason and status.tries == 1
    again = Bench(store, kept)
    assert again.tuner.status().tries == 1 and again.tuner.status().wanted == WANTED[1]


def test_a_machine_that_went_down_during_a_try_counts_it(store: ModelStore) -> None:
    class Down(BaseException):
        pass

    def down(job: TuningJob) -> TuningVerdict:
        raise Down

    bench = Bench(store, down)
    bench.show(WANTED[0])
    bench.tuner.look(bench.now)
    wait_for(lambda: bool(bench.deaths))
    assert Bench(store, kept).tuner.status().tries == 1


def test_without_memory_nothing_begins_and_it_does_not_count(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning_conversion, "spare_memory_mb", lambda configured_mb: 20.0)
    bench = Bench(store, kept)
    bench.show(WANTED[0])
    assert not bench.convert() and not bench.jobs
    status = bench.tuner.status()
    assert status.state == "collecting" and status.reason.endswith("MB of memory, 20 MB are free")
    assert status.tries == 0 and not read_tries(store.get("tunable"))
    bench.tuner.look(bench.now)
    assert bench.tuner.status().state == "collecting", "it does not wait before it tries again"
    monkeypatch.undo()
    bench.now += PERIOD_S
    assert bench.convert()


def test_an_error_in_the_thread_does_not_end_it(store: ModelStore) -> None:
    def broken(job: TuningJob) -> TuningVerdict:
        raise ZeroDivisionError

    bench = Bench(store, broken)
    bench.show(WANTED[0])
    assert not bench.convert() and not bench.deaths
    assert bench.tuner.status().reason == "it failed; see the daemon's log"


def test_another_model_or_source_stops_the_conversion_and_begins_again(store: ModelStore) -> None:
    stopped, running = threading.Event(), threading.Event()

    def hold(job: TuningJob) -> TuningVerdict:
        running.set()
        assert stopped.wait(PATIENCE_S)
        raise ModelError("the conversion was stopped")

    bench = Bench(store, hold)
    bench.tuner._run = lambda job, heard, started: (started(stopped.set), hold(job))[1]
    bench.tuner.begin()
    bench.show(WANTED[0])
    bench.tuner.look(bench.now)
    assert running.wait(PATIENCE_S)
    bench.tuner.begin()
    assert not bench.tuner.finish(bench.outcomes.get(timeout=PATIENCE_S))
    status = bench.tuner.status()
    assert status.state == "collecting" and status.frames == 0


def test_the_log_compares_the_runs_once_they_are_measured(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    from incv3d.frames import Timings

    bench = Bench(store, kept)
    bench.show(WANTED[0])
    bench.latency.record(bench.now, Timings(run_ms=27.9))
    bench.convert()
    bench.latency.restart(bench.now)
    bench.tuner.swapped()
    with caplog.at_level(logging.INFO):
        bench.tuner.look(bench.now)
        assert "tuned" not in caplog.text
        for _ in range(30):
            bench.latency.record(bench.now, Timings(run_ms=14.1))
        bench.tuner.look(bench.now)
        bench.tuner.look(bench.now)
    tuned = [each.getMessage() for each in caplog.records if each.getMessage().startswith("tuned")]
    assert tuned == [
        "tuned: litert int8, run p50 14.1 ms instead of 27.9, agreement 100.0 % on 10 frames of porch"
    ]


def test_a_second_session_without_room_waits_for_the_next_start(store: ModelStore) -> None:
    bench = Bench(store, kept)
    bench.show(WANTED[0])
    bench.convert()
    bench.tuner.swapped("no room")
    status = bench.tuner.status()
    assert status.state == "kept" and status.reason == "the next start uses it: no room"
    assert Bench(store, rejected).tuner.status().state == "kept"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"source": SOURCE, "session": {"tune": False}}, "session.tune is false"),
        ({}, "there is no source whose frames could calibrate"),
        ({"source": SOURCE, "session": {"engine": "tensorflow"}}, "session.engine is tensorflow"),
        ({"source": SOURCE, "session": {"engine": "onnx"}}, "session.engine is onnx"),
        ({"source": SOURCE}, ""),
        ({"source": SOURCE, "session": {"engine": "litert", "tune": True}}, ""),
    ],
)
def test_what_leaves_nothing_to_tune(store: ModelStore, given: dict[str, Any], reason: str) -> None:
    assert obstacle(msgspec.convert(given, Config), store.get("tunable")) == reason


def test_only_frozen_graphs_are_tuned(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    entry = msgspec.structs.replace(add_tunable(tmp_path / "x").get("tunable").entry, format="tflite")
    with store.adding("tunable", entry) as folder:
        (folder / "model.tflite").write_bytes(b"a flatbuffer")
        (folder / "labels.tsv").write_text("".join(f"{n}\t\tclass {n}\n" for n in range(CLASSES)))
    assert obstacle(config(), store.get("tunable")).endswith("only frozen graphs are converted")
    assert Bench(store, kept).tuner.status().state == "off"


def test_true_warns_of_the_reason_and_auto_does_not(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    for tune, lines in (("auto", []), (True, ["tuning: off: session.engine is tensorflow"])):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert Bench(store, kept, config(engine="tensorflow", tune=tune)).tuner.status().state == "off"
        assert [each.getMessage() for each in caplog.records] == lines
