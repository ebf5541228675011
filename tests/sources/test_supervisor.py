"""Supervision of a source: it is reopened whatever a camera does, and closing never waits for it."""

from __future__ import annotations

import threading
import time

import pytest

from incv3d.sources.supervisor import MOST_HUNG_THREADS
from watched_camera import ENDLESS_S, HALVES, PATIENCE_S, QUICK, NotedRetry, status


def test_frames_go_to_the_mailbox_where_the_newest_wins(watch) -> None:
    watched = watch("frame frame frame none")
    assert watched.ended.get(timeout=PATIENCE_S) == "camera"
    assert watched.take() == "1.3" and len(watched.dropped) == 2
    assert status(watched).frames == 3 and status(watched).state == "ended"


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
    watched.join_watcher()
    assert watched.camera.opened == 3


def test_closing_does_not_wait_for_a_call_that_never_returns(watch) -> None:
    watched = watch("frame hang", stall_timeout_s=3600)
    assert watched.take() == "1.1"
    started = time.monotonic()
    watched.capture.close()
    watched.join_watcher()
    assert time.monotonic() - started < PATIENCE_S / 2


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
