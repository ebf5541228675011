"""Skip camera frames in which nothing changed."""

from __future__ import annotations

import threading

from incv3d.engines.base import SessionError
from incv3d.frames import OWN, Refusal
from incv3d.images.change_detector import ChangeDetector, ChangeLimits
from scripted_pipeline import SOON_S


def test_a_cameras_frame_in_which_nothing_changed_is_skipped_before_it_is_run(start_pipeline) -> None:
    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    scripted.show(50)
    assert scripted.next().ok
    for _ in range(3):
        scripted.show(52)
        scripted.skipped.get(timeout=SOON_S)
    scripted.show(150)
    assert scripted.next().id == 150
    assert scripted.session.runs == 2 and scripted.skipped.empty() and scripted.results.empty()


def test_regions_of_a_camera_are_skipped_each_for_itself(start_pipeline) -> None:
    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    for source in ("camera.door", "camera.feeder"):
        scripted.show(50, source)
        assert scripted.next().source == source
    scripted.show(50, "camera.door")
    scripted.skipped.get(timeout=SOON_S)
    scripted.show(150, "camera.feeder")
    assert scripted.next().source == "camera.feeder"


def test_a_request_is_never_skipped(start_pipeline) -> None:
    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    for _ in range(3):
        scripted.send("the same")
        assert scripted.next().ok
    assert scripted.skipped.empty()


def test_the_daemons_own_frames_are_never_skipped(start_pipeline) -> None:
    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    for _ in range(3):
        scripted.show(50, OWN)
        assert scripted.next().is_own
    assert scripted.skipped.empty()


def test_another_measure_of_change_holds_from_the_next_frame_on(start_pipeline) -> None:
    scripted = start_pipeline()
    for _ in range(2):
        scripted.show(50)
        assert scripted.next().ok
    scripted.pipeline.set_change_detector(ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    scripted.show(50)
    assert scripted.next().ok, "it has seen nothing yet"
    scripted.show(50)
    scripted.skipped.get(timeout=SOON_S)
    scripted.pipeline.set_change_detector(None)
    scripted.show(50)
    assert scripted.next().ok


def test_a_frame_whose_preparation_failed_is_no_reason_to_skip_the_next(start_pipeline) -> None:
    def fail() -> None:
        scripted.decoder.feed_script = lambda: None
        raise ZeroDivisionError

    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    scripted.decoder.feed_script = fail
    scripted.show(50)
    assert scripted.next().refusal is Refusal.INTERNAL
    scripted.show(50)
    assert scripted.next().ok


def test_after_the_longest_pause_a_frame_is_classified_all_the_same(start_pipeline) -> None:
    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    scripted.show(50)
    assert scripted.next().ok
    scripted.now = 30.0
    scripted.show(50)
    scripted.skipped.get(timeout=SOON_S)
    scripted.now = 60.0
    scripted.show(50)
    assert scripted.next().ok


def test_a_frame_whose_run_failed_is_no_reason_to_skip_the_next(start_pipeline) -> None:
    def fail_first(number: int) -> None:
        if number == 1:
            raise SessionError("once")

    scripted = start_pipeline(
        script=fail_first, changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)})
    )
    scripted.show(50)
    assert scripted.next().refusal is Refusal.INTERNAL
    scripted.show(50)
    assert scripted.next().ok
    scripted.show(50)
    scripted.skipped.get(timeout=SOON_S)


def test_an_unchanged_camera_does_not_hold_up_requests_nor_the_session_its_frames(start_pipeline) -> None:
    scripted = start_pipeline(held=True, changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    scripted.show(50)
    assert scripted.session.running.wait(SOON_S)
    for _ in range(5):  # looked at while the Session runs
        scripted.show(50)
        scripted.skipped.get(timeout=SOON_S)
    scripted.send("request")
    while len(scripted.frame_queue):
        threading.Event().wait(0.001)
    scripted.session.release(2)
    assert [scripted.next().id, scripted.next().id] == [50, "request"]
    assert scripted.session.runs == 2
