"""Intervals, stalls and growing delays of a supervised source."""

from __future__ import annotations

import socket
import time
from itertools import pairwise

import pytest

from incv3d.config.source import SourceSection
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, Retry, SourceSupervisor, source_opener
from watched_camera import ENDLESS_S, PATIENCE_S, STALL_S, NotedRetry, status


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
        frame_queue = FrameQueue(1, 1, 1, lambda frame: False)
        retry = Retry(first_s=0.1, most_s=0.4, most_absent_s=0.4)
        nothing = [lambda *told: None] * 3
        capture = SourceSupervisor("c", opener, frame_queue, CaptureSchedule(), *nothing, retry)
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


def test_the_time_of_the_trouble_is_counted_from_its_beginning(watch) -> None:
    watched = watch("frame held raise", "frame silent", stall_timeout_s=ENDLESS_S)
    watched.said.wait_for("ok")
    time.sleep(0.6)
    watched.camera.go_on()
    assert watched.said.trouble_s() < 0.6
