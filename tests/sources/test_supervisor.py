"""The watch over a source: whatever a camera does, it is opened again, and nothing waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from doubles import ScriptedCamera
from incv3d.frames import Frame, Region
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, Retry, SourceSupervisor
from incv3d.sources.supervisor import MOST_HUNG_THREADS

QUICK = Retry(first_s=0.01, most_s=0.05, most_absent_s=0.05, opening_s=0.3, interrupt_s=0.1)
STALL_S = 0.2
PATIENCE_S = 20


class Said(logging.Handler):
    """What the log says, to be waited for."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._queue.put(record.getMessage())

    def wait_for(self, words: str) -> None:
        while True:
            self.lines.append(self._queue.get(timeout=PATIENCE_S))
            if words in self.lines[-1]:
                return


@dataclass
class Watched:
    """A capture at work on a scripted camera, and what it reported."""

    camera: ScriptedCamera
    mailbox: FrameQueue
    said: Said
    dropped: list[None] = field(default_factory=list)
    ended: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    deaths: list[tuple[str, Exception]] = field(default_factory=list)
    capture: SourceSupervisor | None = None

    def take(self) -> Any:
        """The id of the next frame."""
        frame = self.take_frame()
        return frame and frame.id

    def take_frame(self) -> Frame | None:
        taken: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        threading.Thread(target=lambda: taken.put(self.mailbox.take(False)), daemon=True).start()
        return taken.get(timeout=PATIENCE_S)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []
    logger = logging.getLogger("incv3d.sources.supervisor")
    logger.setLevel(logging.INFO)

    def make(*scripts: str, regions: dict[str, Region] | None = None, **pace: Any) -> Watched:
        watched = Watched(ScriptedCamera(*scripts), FrameQueue(1, 1, 1, lambda frame: False), Said())
        made.append(watched)
        logger.addHandler(watched.said)
        watched.capture = SourceSupervisor(
            "camera",
            watched.camera,
            watched.mailbox,
            CaptureSchedule(**{"stall_timeout_s": STALL_S, **pace}),
            lambda: watched.dropped.append(None),
            watched.ended.put,
            lambda thread, error: watched.deaths.append((thread, error)),
            QUICK,
            regions=regions,
        )
        watched.capture.start()
        return watched

    yield make
    for watched in made:
        logger.removeHandler(watched.said)
        watched.camera.let_go()
        assert watched.capture
        watched.capture.close()
        watched.mailbox.close()
        assert not watched.deaths


def status(watched: Watched) -> Any:
    assert watched.capture
    return watched.capture.status()


def test_frames_go_to_the_mailbox_where_the_newest_wins(watch) -> None:
    watched = watch("frame frame frame none")
    assert watched.ended.get(timeout=PATIENCE_S) == "camera"
    assert watched.take() == "1.3" and len(watched.dropped) == 2
    assert status(watched).frames == 3 and status(watched).state == "ended"


HALVES = {"left": Region(0, 0, 0.5, 1), "right": Region(0.5, 0, 0.5, 1)}


def test_each_region_has_a_slot_of_its_own_where_the_newest_wins(watch) -> None:
    watched = watch("frame frame frame none", regions=HALVES)
    assert watched.ended.get(timeout=PATIENCE_S) == "camera"
    taken = [watched.take_frame() for _ in HALVES]
    assert [(each.source, each.id, each.region) for each in taken] == [
        ("camera.left", "1.3", HALVES["left"]),
        ("camera.right", "1.3", HALVES["right"]),
    ]
    assert taken[0].data is taken[1].data
    assert status(watched).frames == 3
    assert status(watched).frames * len(HALVES) == len(watched.dropped) + len(taken)


def test_when_every_frame_is_wanted_none_of_its_regions_is_dropped(watch) -> None:
    watched = watch("frame " * 10 + "none", regions=HALVES, every_frame=True)
    taken = [watched.take_frame() for _ in range(20)]
    want = [(f"camera.{half}", f"1.{number}") for number in range(1, 11) for half in HALVES]
    assert [(each.source, each.id) for each in taken] == want
    assert not watched.dropped


@pytest.mark.parametrize(
    ("script", "reason"), [("frame raise", "the cable is loose"), ("frame bug", "AttributeError('no such")]
)
def test_a_source_that_raises_is_opened_again(watch, script, reason) -> None:
    watched = watch(script, "frame")
    watched.said.wait_for("source camera: ok")
    watched.said.wait_for(f"source camera: reopening: {reason}")
    watched.said.wait_for("source camera: ok after")
    assert watched.take() == "2.1"
    assert (status(watched).state, status(watched).recoveries) == ("ok", 1)
    assert watched.camera.closed == 1, "the first source was not closed"


def test_a_camera_that_is_absent_at_the_start_is_waited_for(watch) -> None:
    watched = watch(*["absent"] * 5, "frame")
    watched.said.wait_for("source camera: absent: not plugged in")
    watched.said.wait_for("source camera: ok after")
    assert watched.take() == "6.1"
    assert status(watched).recoveries == 0, "it had never been there before"
    assert len(watched.said.lines) == 2, "a retry that meets the same is no news"


def test_a_silent_source_is_closed_and_opened_again(watch) -> None:
    watched = watch("frame silent", "silent", "frame")
    watched.said.wait_for("stalled: no frame for 0.2 s")
    watched.said.wait_for("reopening: no frame for 0.2 s")
    watched.said.wait_for("ok after")
    assert watched.take() == "3.1" and watched.camera.closed == 2
    assert status(watched).hung_threads == 0


def test_a_call_that_never_returns_is_left_behind_and_its_late_frame_ignored(watch) -> None:
    watched = watch("frame hang", "frame silent")
    watched.said.wait_for("stalled")
    watched.said.wait_for("ok after")
    assert status(watched).hung_threads == 1
    assert watched.take() == "2.1"
    frames = status(watched).frames
    watched.camera.let_go()
    watched.said.wait_for("stalled")  # the second has nothing more to say either; the third is the second's
    watched.said.wait_for("ok after")
    assert watched.take() == "3.1", "a frame of the first came through"
    assert status(watched).frames == frames + 1 and status(watched).hung_threads == 0


def test_an_opening_that_never_returns_is_left_behind(watch) -> None:
    watched = watch("hang-opening", "frame")
    watched.said.wait_for("stalled: opening it takes longer than 0.5 s")
    watched.said.wait_for("ok after")
    assert watched.take() == "2.1" and status(watched).hung_threads == 1
    watched.camera.let_go()
    while watched.camera.closed < 1:
        time.sleep(0.01)
    assert status(watched).frames == 1, "what was opened too late is closed unused"


def test_a_closing_that_never_returns_is_left_behind(watch) -> None:
    watched = watch("frame raise hang-closing", "frame")
    watched.said.wait_for("stalled: closing it takes longer than 0.2 s")
    watched.said.wait_for("ok after")
    assert watched.take() == "2.1" and status(watched).hung_threads == 1


def test_so_many_threads_may_hang_and_no_more(watch) -> None:
    watched = watch(*["hang"] * MOST_HUNG_THREADS, "frame")
    watched.said.wait_for("calls do not return: replug it")
    assert watched.camera.opened == MOST_HUNG_THREADS
    assert status(watched).hung_threads == MOST_HUNG_THREADS
    assert watched.capture
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("capture-camera")]
    assert len(threads) == MOST_HUNG_THREADS
    watched.camera.let_go()
    watched.said.wait_for("ok after")
    assert watched.take() == f"{MOST_HUNG_THREADS + 1}.1"


def test_closing_does_not_wait_for_a_call_that_never_returns(watch) -> None:
    watched = watch("frame hang", stall_timeout_s=3600)
    assert watched.take() == "1.1"
    assert watched.capture
    started = time.monotonic()
    watched.capture.close()
    watched.capture._watcher.join(PATIENCE_S)
    assert not watched.capture._watcher.is_alive() and time.monotonic() - started < PATIENCE_S / 2


def test_closing_lets_a_silent_source_go(watch) -> None:
    watched = watch("frame silent", stall_timeout_s=3600)
    watched.said.wait_for("ok")
    assert watched.capture
    watched.capture.close()
    for thread in threading.enumerate():
        if thread.name.startswith("capture-camera"):
            thread.join(PATIENCE_S)
    assert watched.camera.closed == 1


def test_lost_frames_add_up_over_reopenings(watch) -> None:
    watched = watch("lost lost frame raise", "lost frame silent", stall_timeout_s=3600)
    watched.said.wait_for("ok after")
    assert status(watched).lost_frames == 3


def test_frames_are_asked_for_at_a_fixed_beat(watch) -> None:
    watched = watch("frame frame frame frame silent", gap_s=3600.0)
    while len(watched.camera.asked) < 4:
        time.sleep(0.01)
    first, *others = watched.camera.asked[:4]
    assert first == 0.0
    assert others[1] - others[0] == pytest.approx(3600) and others[2] - others[1] == pytest.approx(3600)
    assert status(watched).state == "ok", "an idle camera is taken for a stalled one"


def test_when_every_frame_is_wanted_none_is_dropped(watch) -> None:
    watched = watch("frame " * 20 + "none", every_frame=True)
    assert [watched.take() for _ in range(20)] == [f"1.{number}" for number in range(1, 21)]
    assert not watched.dropped
    assert watched.ended.get(timeout=PATIENCE_S) == "camera"


def test_a_frame_that_nobody_takes_is_no_stall(watch) -> None:
    watched = watch("frame frame silent", every_frame=True)
    watched.said.wait_for("ok")
    time.sleep(3 * STALL_S)  # longer than a stall takes to be seen
    assert status(watched).state == "ok" and watched.camera.opened == 1
    assert watched.take() == "1.1" and watched.take() == "1.2"


def test_the_wait_doubles_with_each_failure_up_to_a_limit_and_is_never_the_same() -> None:
    retry = Retry(first_s=1.0, most_s=30.0, most_absent_s=5.0)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (6, 30), (1000, 30)):
        waits = {retry.delay_s(failures, absent=False) for _ in range(50)}
        assert len(waits) > 1 and all(longest / 2 <= wait <= longest for wait in waits)
    assert retry.delay_s(1000, absent=True) <= 5
