"""What the recorder keeps, and that nothing is lost on a bad day."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incv3d.clock import timestamp_ms
from incv3d.config.events import EventsSection
from incv3d.config.history import HistorySection
from incv3d.config.schema import Config
from incv3d.events.labelled_image import ImageToSave
from incv3d.frames import Frame, Prediction
from incv3d.history import recorder as recorder_module
from incv3d.history.reader import HistoryReader, Question
from incv3d.history.recorder import HistoryRecorder
from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter
from incv3d.protocol.events import EventMessage
from waiting import until

CONFIG = Config(events=EventsSection(allow=["*"]))
NOON = 1_796_126_400.0
"""The first of December 2026, 12:00 UTC."""
SOON_S = 0.05
Record = Callable[..., HistoryRecorder]


def event(
    happening: str, label: str = "fox", at: float = NOON, source: str = "camera", **more
) -> EventMessage:
    moment = timestamp_ms(at)
    return EventMessage(
        v=1, event=happening, source=source, label=label, synset="", score=0.5, at=moment, frames=3, **more
    )


def visit(
    recorder: HistoryRecorder, label: str = "fox", at: float = NOON, seconds: float = 10.0, **more
) -> None:
    recorder.take_event(event("entered", label, at, **more), None)
    left = event("left", label, at + seconds, duration_s=seconds, best=0.9, reason="unseen", **more)
    recorder.take_event(left, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def record(path: Path) -> Iterator[Record]:
    made: list[HistoryRecorder] = []

    def make(
        config: Config = CONFIG, write_s: float = SOON_S, **clocks: Callable[[], float]
    ) -> HistoryRecorder:
        def died(thread: str, error: BaseException) -> None:
            raise AssertionError(thread) from error

        made.append(HistoryRecorder(config, path, died, write_s, **clocks))
        return made[-1]

    yield make
    for each in made:
        each.close(time.monotonic() + 10)


def seen(path: Path) -> list[Visit]:
    with HistoryReader(path) as reader:
        return reader.visits(Question())


def test_a_visit_has_its_time_duration_score_and_image(record: Record, path: Path) -> None:
    recorder = record()
    recorder.take_event(event("entered"), None)
    frame = Frame("camera", b"", None, 0.0, 0.0)
    fox = Prediction(1, "", "fox", 0.8)
    image = ImageToSave(frame, NOON, "entered", (fox,), (fox,), "m")
    recorder.take_image(image, Path("/srv/fox.jpg"))
    recorder.take_image(image, Path("/srv/another.jpg"))
    recorder.take_event(event("left", at=NOON + 12, duration_s=10.5, best=0.9, reason="silent"), None)
    until(lambda: path.exists() and seen(path), "the visit")
    assert seen(path) == [Visit("camera", "fox", "", round(NOON * 1000), 0.9, 10.5, "silent", "fox.jpg")]


def test_a_label_that_is_still_there_is_in_the_history(record: Record, path: Path) -> None:
    recorder = record()
    recorder.take_event(event("entered", "full"), None)
    until(lambda: path.exists() and seen(path), "the visit")
    assert [(each.label, each.duration_s) for each in seen(path)] == [("full", None)]
    recorder.take_event(event("left", "full", NOON + 5, duration_s=5.0, best=0.9, reason="unseen"), None)
    until(lambda: seen(path)[0].duration_s == 5.0, "its end")
    assert len(seen(path)) == 1


def test_what_waits_is_written_at_the_end(record: Record, path: Path) -> None:
    recorder = record(write_s=3600)
    visit(recorder)
    recorder.close(time.monotonic() + 10)
    assert len(seen(path)) == 1
    assert recorder.status()["history"]["written"] == 1


def test_without_watched_labels_or_if_turned_off_no_file_is_made(record: Record, path: Path) -> None:
    for config in (Config(), Config(events=CONFIG.events, history=HistorySection(enabled=False))):
        recorder = record(config)
        visit(recorder)
        assert recorder.status() == {}
    assert not path.exists()


def test_a_reload_begins_and_ends_it(record: Record, path: Path) -> None:
    recorder = record(Config())
    visit(recorder, "lost")
    recorder.reconfigure(CONFIG)
    visit(recorder, "kept")
    until(lambda: path.exists() and seen(path), "the visit")
    recorder.reconfigure(Config())
    visit(recorder, "lost too")
    recorder.close(time.monotonic() + 10)
    assert [each.label for each in seen(path)] == ["kept"]


def test_before_the_clock_is_set_visits_wait_and_get_the_right_time(record: Record, path: Path) -> None:
    clocks = {"now": 12.0, "monotonic": 100.0}
    recorder = record(clock=lambda: clocks["now"], monotonic=lambda: clocks["monotonic"])
    recorder.take_event(event("entered", at=12.0), None)
    clocks["monotonic"] += 30
    recorder.take_event(event("left", at=42.0, duration_s=25.0, best=0.9, reason="unseen"), None)
    time.sleep(4 * SOON_S)  # several times to write
    assert not path.exists() or seen(path) == []
    clocks["now"], clocks["monotonic"] = NOON, clocks["monotonic"] + 60
    until(lambda: path.exists() and seen(path), "the visit")
    assert [each.entered_ms for each in seen(path)] == [round((NOON - 90) * 1000)]


def test_a_damaged_file_is_set_aside_and_said(record: Record, path: Path, caplog) -> None:
    path.write_bytes(os.urandom(8192))
    with caplog.at_level(logging.ERROR):
        visit(record())
        until(lambda: path.with_name("history.sqlite.damaged").exists(), "the damaged file")
        until(lambda: path.exists() and seen(path), "the visit")
    assert f"{path}: damaged; it is now history.sqlite.damaged, and a new history begins" in caplog.text


def test_a_damaged_file_that_cannot_be_set_aside_ends_nothing(
    record: Record, path: Path, monkeypatch
) -> None:
    path.write_bytes(os.urandom(8192))

    def denied(damaged: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(damaged))

    monkeypatch.setattr(recorder_module, "set_aside", denied)
    recorder = record()
    visit(recorder)
    until(lambda: "Permission denied" in recorder.status()["history"]["trouble"], "the trouble")
    monkeypatch.undo()
    until(lambda: path.with_name("history.sqlite.damaged").exists(), "the damaged file")
    until(lambda: path.exists() and seen(path), "the visit")


def test_a_file_of_a_newer_version_is_left_alone(record: Record, path: Path, caplog) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
        connection.execute("CREATE TABLE new (a)")
    before = path.read_bytes()
    recorder = record()
    visit(recorder)
    until(lambda: recorder.status()["history"]["trouble"], "the trouble")
    assert "written by a newer version of incv3d" in caplog.text
    recorder.close(time.monotonic() + 10)
    assert path.read_bytes() == before


def test_a_full_disk_is_said_once_and_nothing_is_lost_when_there_is_room(
    small_disk: Path, path: Path, caplog
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(900 * 1024))
    recorder = HistoryRecorder(CONFIG, small_disk / path.name, lambda *_: None, SOON_S)
    labels = [f"label {number}" for number in range(2000)]
    for number, label in enumerate(labels):
        visit(recorder, label, NOON + number)
    until(lambda: recorder.status()["history"]["trouble"], "the trouble")
    time.sleep(4 * SOON_S)  # it tries again
    assert caplog.text.count("the history cannot be written") == 1
    filler.unlink()
    until(lambda: recorder.status()["history"]["written"] == len(labels), "the visits")
    recorder.close(time.monotonic() + 10)
    assert "the history is written again" in caplog.text
    with HistoryReader(small_disk / path.name) as reader:
        assert sum(each.visits for each in reader.labels(Question())) == len(labels)


WRITER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_recorder import CONFIG, HistoryRecorder, event, visit
for line in sys.stdin:
    if child := os.fork():
        os.waitpid(child, 0)
        print("ended", flush=True)
    else:
        print(os.getpid(), flush=True)
        recorder = HistoryRecorder(CONFIG, Path(sys.argv[1]), lambda *error: print(error), 0.01)
        recorder.take_event(event("entered", "always"), None)
        for number in range(10**9):
            visit(recorder, f"label {number % 7}", time.time(), 0.0)
            print(number, flush=True)
            time.sleep(0.002)
"""
"""Forks a process that writes, for each line: importing takes longer than all else."""


@pytest.fixture
def writers(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, path, Path(__file__).parent]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, process_group=0
    ) as process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_killed_fifty_times_the_file_opens_every_time(writers: subprocess.Popen[str], path: Path) -> None:
    assert writers.stdin and writers.stdout
    HistoryWriter(path).close()
    written = 0
    for number in range(50):
        print(file=writers.stdin, flush=True)
        child = int(writers.stdout.readline())
        for _ in range(20 + 7 * number % 50):
            assert writers.stdout.readline()
        until(lambda least=written + 5: seen_all(path) >= least, "five more visits in the file")
        os.kill(child, signal.SIGKILL)
        while writers.stdout.readline() != "ended\n":
            assert writers.poll() is None
        # As the daemon does at its next start: what was there is there, and what was present has ended.
        writer = HistoryWriter(path)
        writer.end_lost_visits()
        writer.close()
        visits = seen_all(path)
        assert visits >= written + 5, "only the last moments may be lost"
        written = visits


def seen_all(path: Path) -> int:
    with HistoryReader(path) as reader:
        return sum(each.visits for each in reader.labels(Question()))
