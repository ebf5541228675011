"""The watch over a source: whatever a camera does, it is opened again, and nothing waits for it."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from doubles import ScriptedCamera
from incv3d.config.schema import SourceSection
from incv3d.frames import Frame, Refusal, Region, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, Retry, SourceSupervisor, source_opener
from incv3d.sources.refusals import RefusalLimit
from incv3d.sources.supervisor import MOST_HUNG_THREADS

QUICK = Retry(first_s=0.01, most_s=0.05, most_absent_s=0.05, opening_s=0.3, interrupt_s=0.1)
STALL_S = 0.2
PATIENCE_S = 10
ENDLESS_S = 3600.0


class Said(logging.Handler):
    """What the log says, to be waited for."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.tracebacks = 0
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.tracebacks += record.exc_info is not None
        self._queue.put(record.getMessage())

    def wait_for(self, words: str) -> str:
        """The next line that has these words."""
        while True:
            self.lines.append(self._queue.get(timeout=PATIENCE_S))
            if words in self.lines[-1]:
                return self.lines[-1]

    def trouble_s(self) -> float:
        """How long the trouble lasted, as the next line that ends it says."""
        return float(self.wait_for("ok after").split()[-2])

    def everything(self) -> list[str]:
        """All lines so far."""
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return self.lines


@dataclass(frozen=True)
class NotedRetry(Retry):
    """Puts down before which pauses it was asked: after how many failures in a row, and whether absent."""

    asked: queue.SimpleQueue[tuple[int, bool]] = field(default_factory=queue.SimpleQueue)
    pause_s: float = 0.0

    def delay_s(self, failures: int, absent: bool) -> float:
        self.asked.put((failures, absent))
        return self.pause_s

    def next(self) -> tuple[int, bool]:
        return self.asked.get(timeout=PATIENCE_S)


@dataclass
class Watched:
    """A capture at work on a scripted camera, and what it reported."""

    camera: ScriptedCamera
    mailbox: FrameQueue
    said: Said
    dropped: list[None] = field(default_factory=list)
    ended: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    deaths: list[tuple[str, Exception]] = field(default_factory=list)
    capture: SourceSupervisor = field(init=False)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < give_up, self.capture.status()
            time.sleep(0.005)

    def end(self) -> None:
        """Close the capture, and see that both of its threads end."""
        self.capture.close()
        assert self.capture.wait_until_closed(PATIENCE_S), "the capture thread still runs"
        self.capture._watcher.join(PATIENCE_S)
        assert not self.capture._watcher.is_alive(), "the watching thread still runs"

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

    def make(
        *scripts: str,
        regions: dict[str, Region] | None = None,
        retry: Retry = QUICK,
        start: bool = True,
        **pace: Any,
    ) -> Watched:
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
            retry,
            regions=regions,
            refusal_limit=RefusalLimit(frames=2, at_least_s=0.0),
        )
        if start:
            watched.capture.start()
        return watched

    yield make
    for watched in made:
        logger.removeHandler(watched.said)
        watched.camera.let_go()
        watched.capture.close()
        watched.mailbox.close()
        assert not watched.deaths


def status(watched: Watched) -> Any:
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
    watched = watch(script, "frame", stall_timeout_s=ENDLESS_S)
    watched.said.wait_for("source camera: ok")
    watched.said.wait_for(f"source camera: reopening: {reason}")
    watched.said.wait_for("source camera: ok after")
    assert watched.take() == "2.1"
    assert (status(watched).state, status(watched).reason, status(watched).recoveries) == ("ok", "", 1)
    assert watched.camera.closed == 1, "the first source was not closed"


def test_where_an_unknown_error_came_from_is_said_once(watch) -> None:
    watched = watch("bug", "bug", "bug", "frame")
    watched.said.wait_for("source camera failed")
    watched.said.wait_for("source camera: ok after")
    assert watched.said.tracebacks == 1
    assert sum("failed" in line for line in watched.said.everything()) == 1


def test_a_camera_that_is_absent_at_the_start_is_waited_for(watch) -> None:
    watched = watch(*["absent"] * 5, "frame")
    watched.said.wait_for("source camera: absent: not plugged in")
    watched.said.wait_for("source camera: ok after")
    assert watched.take() == "6.1"
    assert status(watched).recoveries == 0, "it had never been there before"
    assert status(watched).lost_frames == 0, "what never opened lost none"
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
    assert watched.said.trouble_s() >= QUICK.interrupt_s, "trouble begins with the stall"
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
    watched.said.wait_for("stalled: opening takes longer than 0.5 s")
    watched.said.wait_for("ok after")
    assert watched.take() == "2.1" and status(watched).hung_threads == 1
    watched.camera.let_go()
    while watched.camera.closed < 1:
        time.sleep(0.01)
    assert status(watched).frames == 1, "what was opened too late is closed unused"


def test_a_closing_that_never_returns_is_left_behind(watch) -> None:
    watched = watch("frame raise hang-closing", "frame", interval_s=ENDLESS_S)
    watched.said.wait_for("stalled: closing takes longer than 0.2 s")
    watched.said.wait_for("ok after")
    assert watched.take() == "2.1" and status(watched).hung_threads == 1


def test_so_many_threads_may_hang_and_no_more(watch) -> None:
    assert MOST_HUNG_THREADS == 3
    watched = watch(*["hang"] * 3, "frame")
    watched.said.wait_for("stalled: 3 calls do not return: replug it")
    time.sleep(2 * QUICK.most_s)  # as long as a retry takes
    assert watched.camera.opened == status(watched).hung_threads == 3
    threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("capture-camera")}
    assert threads == {"capture-camera-1", "capture-camera-2", "capture-camera-3"}
    watched.camera.let_go()
    watched.said.wait_for("ok after")
    assert watched.take() == "4.1"


def test_closing_ends_the_wait_for_threads_that_hang(watch) -> None:
    watched = watch(*["hang"] * 3, "frame")
    watched.said.wait_for("3 calls do not return")
    watched.capture.close()
    watched.capture._watcher.join(PATIENCE_S)
    assert not watched.capture._watcher.is_alive() and watched.camera.opened == 3


def test_closing_does_not_wait_for_a_call_that_never_returns(watch) -> None:
    watched = watch("frame hang", stall_timeout_s=3600)
    assert watched.take() == "1.1"
    started = time.monotonic()
    watched.capture.close()
    watched.capture._watcher.join(PATIENCE_S)
    assert not watched.capture._watcher.is_alive() and time.monotonic() - started < PATIENCE_S / 2


def test_closing_lets_a_silent_source_go(watch) -> None:
    watched = watch("frame silent", stall_timeout_s=ENDLESS_S)
    watched.said.wait_for("ok")
    watched.end()
    assert watched.camera.closed == 1


def test_whether_a_source_is_let_go_of_can_be_waited_for(watch) -> None:
    watched = watch("frame hang", stall_timeout_s=ENDLESS_S, start=False)
    assert watched.capture.wait_until_closed(0.0), "nothing was opened yet"
    watched.capture.start()
    assert watched.take() == "1.1"
    watched.capture.close()
    assert not watched.capture.wait_until_closed(0.05)
    watched.camera.let_go()
    assert watched.capture.wait_until_closed(PATIENCE_S) and watched.camera.closed == 1


def test_closing_ends_the_pause_before_a_retry(watch) -> None:
    watched = watch("absent", retry=(retry := NotedRetry(pause_s=ENDLESS_S)))
    retry.next()
    watched.end()
    assert watched.camera.opened == 1


def test_lost_frames_add_up_over_reopenings(watch) -> None:
    watched = watch("lost lost frame raise", "lost frame silent", stall_timeout_s=3600)
    watched.said.wait_for("ok after")
    assert status(watched).lost_frames == 3


def test_frames_are_asked_for_at_a_fixed_beat(watch) -> None:
    watched = watch("frame frame frame frame silent", interval_s=3600.0)
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
    cpu_s = time.process_time()
    time.sleep(3 * STALL_S)  # longer than a stall takes to be seen
    assert time.process_time() - cpu_s < STALL_S / 2, "waiting costs processor time"
    assert status(watched).state == "ok" and watched.camera.opened == 1
    assert watched.take() == "1.1" and watched.take() == "1.2"
    watched.said.wait_for("stalled: no frame for 0.2 s")


def test_the_wait_doubles_with_each_failure_up_to_a_limit_and_is_never_the_same() -> None:
    retry = Retry(first_s=1.0, most_s=30.0, most_absent_s=5.0)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (6, 30), (1000, 30)):
        waits = {retry.delay_s(failures, absent=False) for _ in range(50)}
        assert len(waits) > 1 and all(longest / 2 <= wait <= longest for wait in waits)
    assert retry.delay_s(1000, absent=True) <= 5


def test_a_frame_that_is_never_taken_does_not_hold_up_the_end(watch) -> None:
    watched = watch("frame frame silent", every_frame=True)
    watched.said.wait_for("ok")
    watched.end()
    assert watched.camera.closed == 1


def test_the_pauses_are_those_that_are_promised() -> None:
    retry = Retry()
    for failures, absent, longest_s in ((1, False, 0.5), (1, True, 0.5), (99, False, 30), (99, True, 5)):
        waits = [retry.delay_s(failures, absent) for _ in range(1000)]
        assert 0.98 * longest_s < max(waits) <= longest_s


def test_a_capture_is_as_patient_as_a_source_without_further_words() -> None:
    source = SourceSection()
    assert CaptureSchedule() == CaptureSchedule(
        source.frame_interval_s, source.takes_every_frame, source.stall_timeout_s
    )


def test_the_pauses_grow_with_each_failure_in_a_row_of_any_kind(watch) -> None:
    retry = NotedRetry(most_s=ENDLESS_S, opening_s=0.3, interrupt_s=0.1)
    watch("raise", "absent", "bug", "frame raise", "frame silent", "hang", "frame silent", retry=retry)
    assert [retry.next() for _ in range(6)] == [
        (1, False), (2, True), (3, False), (4, False), (5, False), (6, False)
    ]  # fmt: skip


def test_the_pauses_are_waited_for_at_a_camera_that_hangs_up() -> None:
    came: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        opener = source_opener(
            SourceSection(type="video", path=f"http://127.0.0.1:{server.getsockname()[1]}/")
        )
        assert opener
        mailbox = FrameQueue(1, 1, 1, lambda frame: False)
        retry = Retry(first_s=0.1, most_s=0.4, most_absent_s=0.4)
        nothing = [lambda *told: None] * 3
        capture = SourceSupervisor("c", opener, mailbox, CaptureSchedule(), *nothing, retry)
        capture.start()
        try:
            while len(came) < 6:
                server.accept()[0].close()
                came.append(time.monotonic())
        finally:
            capture.close()
            assert capture.wait_until_closed(PATIENCE_S)
    pauses_s = [after - before for before, after in pairwise(came)]
    # Half of each pause at least: the other half is random.
    assert all(s >= least_s for s, least_s in zip(pauses_s, (0.05, 0.1, 0.2, 0.2, 0.2), strict=True)), (
        pauses_s
    )


def test_a_source_that_worked_for_long_is_tried_again_soon(watch) -> None:
    retry = NotedRetry(most_s=0.05, opening_s=0.3, interrupt_s=0.1)
    watch("raise", "raise", "frame silent", "raise", "silent", "frame silent", retry=retry)
    assert [failures for failures, _ in (retry.next() for _ in range(6))] == [1, 2, 1, 2, 3, 1]


def test_an_interval_longer_than_the_stall_timeout_is_no_stall(watch) -> None:
    watched = watch("frame wait frame wait frame silent", interval_s=2.5 * STALL_S)
    watched.wait_until(lambda: status(watched).frames == 3)
    assert watched.camera.opened == 1
    assert watched.said.everything() == ["source camera: ok"]


def test_a_source_that_idles_on_purpose_is_not_taken_for_a_stalled_one(watch) -> None:
    watched = watch("frame idle frame silent")
    watched.wait_until(lambda: status(watched).frames == 2)
    assert watched.camera.opened == 1
    assert watched.said.everything() == ["source camera: ok"]


def test_a_frame_that_came_late_does_not_make_the_next_ones_come_sooner(watch) -> None:
    watched = watch("frame held frame frame silent", interval_s=0.01, stall_timeout_s=ENDLESS_S)
    watched.wait_until(lambda: len(watched.camera.asked) == 2)
    time.sleep(0.1)
    late = time.monotonic()
    watched.camera.go_on()
    watched.wait_until(lambda: len(watched.camera.asked) == 4)
    assert late <= watched.camera.asked[2] <= time.monotonic()


def test_a_stall_is_seen_when_its_time_is_up_not_sooner_and_not_much_later(watch) -> None:
    watched = watch("frame silent", stall_timeout_s=0.4)
    took_s = []
    for _ in range(3):
        watched.said.wait_for("ok")
        began = time.monotonic()
        watched.said.wait_for("stalled")
        took_s.append(time.monotonic() - began)
    # The machine may be slow at some of them, and at saying that it is ok.
    assert max(took_s) > 0.3 and min(took_s) < 1.2


def test_a_source_that_never_gives_its_first_frame_is_stalled_as_soon_as_any(watch) -> None:
    watched = watch("silent", "frame", retry=Retry(first_s=0.01, opening_s=ENDLESS_S, interrupt_s=0.1))
    watched.said.wait_for("stalled: no frame for 0.2 s")
    watched.said.wait_for("ok after")


def test_a_stalled_source_is_said_to_be_stalled_until_it_is_opened_again(watch) -> None:
    watched = watch("frame silent", retry=(retry := NotedRetry(pause_s=ENDLESS_S)))
    retry.next()
    assert (status(watched).state, status(watched).reason) == ("stalled", "no frame for 0.2 s")


def test_the_time_of_the_trouble_is_counted_from_its_beginning(watch) -> None:
    watched = watch("frame held raise", "frame silent", stall_timeout_s=ENDLESS_S)
    watched.said.wait_for("ok")
    time.sleep(0.6)
    watched.camera.go_on()
    assert watched.said.trouble_s() < 0.6


def test_before_the_start_a_source_is_opening_and_has_given_nothing(watch) -> None:
    told = status(watch("frame", start=False))
    assert (told.name, told.state, told.reason) == ("camera", "opening", "")
    assert (told.frames, told.lost_frames, told.recoveries) == (0, 0, 0)
    assert (told.refused_frames, told.hung_threads) == (0, 0)


def test_frames_say_that_they_are_of_the_camera_or_of_its_regions(watch) -> None:
    assert watch("frame", start=False).capture.sources == {"camera"}
    assert watch("frame", start=False, regions=HALVES).capture.sources == {"camera.left", "camera.right"}


DAMAGED = Result("camera", refusal=Refusal.BAD_IMAGE, detail="cut off")
HUGE = Result("camera", refusal=Refusal.TOO_LARGE, detail="9000x9000")
GOOD = Result("camera")


def refused(watched: Watched) -> None:
    """Have its first frames refused."""
    watched.said.wait_for("ok")
    for _ in range(2):
        watched.capture.judge(DAMAGED)
    watched.said.wait_for("refused: bad_image: cut off")


def test_a_camera_whose_frames_are_refused_says_so_until_one_is_good(watch) -> None:
    watched = watch("frame held frame silent", stall_timeout_s=ENDLESS_S)
    refused(watched)
    told = status(watched)
    assert (told.state, told.reason, told.refused_frames) == ("refused", "bad_image: cut off", 2)
    watched.camera.go_on()  # a frame that comes is no good one
    watched.wait_until(lambda: status(watched).frames == 2)
    watched.capture.judge(HUGE)
    watched.said.wait_for("refused: too_large")
    assert status(watched).since == told.since, "it is refused since the first"
    watched.capture.judge(GOOD)
    watched.said.wait_for("ok after")
    assert (status(watched).state, status(watched).reason) == ("ok", "")
    assert status(watched).recoveries == 0, "frames had never stopped"
    assert status(watched).since > told.since


def test_a_frame_that_is_skipped_as_unchanged_is_a_good_one(watch) -> None:
    watched = watch("frame silent", stall_timeout_s=ENDLESS_S)
    watched.capture.accept()
    refused(watched)
    watched.capture.accept()
    watched.said.wait_for("ok after")
    watched.capture.judge(DAMAGED)
    assert status(watched).state == "ok", "it counts anew"


def test_the_result_of_a_frame_of_before_does_not_make_a_source_that_is_gone_look_well(watch) -> None:
    watched = watch("frame none")
    assert watched.ended.get(timeout=PATIENCE_S) == "camera"
    watched.capture.judge(GOOD)
    watched.capture.accept()
    assert status(watched).state == "ended"


def test_a_paused_cameras_frames_pass_and_the_next_one_after_it_is_new(watch) -> None:
    watched = watch("frame held frame held frame silent", stall_timeout_s=ENDLESS_S)
    assert watched.take() == "1.1"
    watched.capture.pause(True)
    watched.camera.go_on()
    watched.wait_until(lambda: status(watched).frames == 2)
    assert not watched.mailbox.cameras and status(watched).state == "ok"
    watched.capture.pause(False)
    watched.camera.go_on()
    assert watched.take() == "1.3" and not watched.dropped


def test_a_paused_film_stands_still_and_loses_nothing(watch) -> None:
    watched = watch("frame frame silent", every_frame=True, start=False)
    watched.capture.pause(True)
    watched.capture.start()
    watched.wait_until(lambda: len(watched.camera.asked) == 1)
    time.sleep(3 * STALL_S)  # longer than a stall takes to be seen
    assert watched.camera.opened == len(watched.camera.asked) == 1 and not watched.said.everything()
    watched.capture.pause(False)
    assert [watched.take(), watched.take()] == ["1.1", "1.2"]


def test_a_paused_film_can_be_closed(watch) -> None:
    watched = watch("frame frame silent", every_frame=True, start=False)
    watched.capture.pause(True)
    watched.capture.start()
    watched.wait_until(lambda: len(watched.camera.asked) == 1)
    watched.end()
    assert watched.camera.closed == 1 and not watched.mailbox.cameras


def test_a_watch_that_cannot_go_on_says_so_itself(watch) -> None:
    watched = watch("frame none", start=False)
    told: queue.SimpleQueue[tuple[str, Exception]] = queue.SimpleQueue()

    def fail(name: str) -> None:
        raise ValueError(name)

    capture = SourceSupervisor(
        "camera",
        watched.camera,
        watched.mailbox,
        CaptureSchedule(),
        lambda: None,
        fail,
        lambda *death: told.put(death),
    )
    capture.start()
    thread, error = told.get(timeout=PATIENCE_S)
    assert thread == "watch-camera" and isinstance(error, ValueError)
