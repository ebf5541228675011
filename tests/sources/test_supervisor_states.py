"""The states that a supervised source reports: opening, ok, refused, paused, ended."""

from __future__ import annotations

import queue
import time

from incv3d.frames import Refusal, Result
from incv3d.sources import CaptureSchedule, SourceSupervisor
from watched_camera import ENDLESS_S, HALVES, PATIENCE_S, STALL_S, NotedRetry, Watched, status


def test_a_stalled_source_is_said_to_be_stalled_until_it_is_opened_again(watch) -> None:
    watched = watch("frame silent", retry=(retry := NotedRetry(pause_s=ENDLESS_S)))
    retry.next()
    assert (status(watched).state, status(watched).reason) == ("stalled", "no frame for 0.2 s")


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
    assert not watched.frame_queue.cameras and status(watched).state == "ok"
    watched.capture.pause(False)
    watched.camera.go_on()
    assert watched.take() == "1.3" and not watched.dropped


def test_a_paused_video_stands_still_and_loses_nothing(watch) -> None:
    watched = watch("frame frame silent", every_frame=True, start=False)
    watched.capture.pause(True)
    watched.capture.start()
    watched.wait_until(lambda: len(watched.camera.asked) == 1)
    time.sleep(3 * STALL_S)  # longer than a stall takes to be seen
    assert watched.camera.opened == len(watched.camera.asked) == 1 and not watched.said.everything()
    watched.capture.pause(False)
    assert [watched.take(), watched.take()] == ["1.1", "1.2"]


def test_a_paused_video_can_be_closed(watch) -> None:
    watched = watch("frame frame silent", every_frame=True, start=False)
    watched.capture.pause(True)
    watched.capture.start()
    watched.wait_until(lambda: len(watched.camera.asked) == 1)
    watched.end()
    assert watched.camera.closed == 1 and not watched.frame_queue.cameras


def test_a_watch_that_cannot_go_on_says_so_itself(watch) -> None:
    watched = watch("frame none", start=False)
    told: queue.SimpleQueue[tuple[str, Exception]] = queue.SimpleQueue()

    def fail(name: str) -> None:
        raise ValueError(name)

    capture = SourceSupervisor(
        "camera",
        watched.camera,
        watched.frame_queue,
        CaptureSchedule(),
        lambda: None,
        fail,
        lambda *death: told.put(death),
    )
    capture.start()
    thread, error = told.get(timeout=PATIENCE_S)
    assert thread == "watch-camera" and isinstance(error, ValueError)
