"""Take camera frames from the queue just before the Session becomes free."""

from __future__ import annotations

import time

import pytest

from incv3d.frames import Frame
from scripted_pipeline import SOON_S, ScriptedPipeline


def run_once(scripted: ScriptedPipeline, decode_s: float, run_s: float) -> None:
    """Let a camera's frame take so long by the pipeline's clock, which then is set to now.

    After it, a request runs.
    """

    def decode(frame: Frame) -> None:
        scripted.now += decode_s if frame.request_id is None else 0.0

    scripted.decoder.script = decode
    scripted.now = time.monotonic()
    scripted.show(1)
    assert scripted.session.running.wait(SOON_S)
    scripted.now += run_s
    scripted.session.release()
    assert scripted.next().id == 1
    scripted.now = time.monotonic()
    scripted.send("request")
    assert scripted.session.running.wait(SOON_S)


def test_a_cameras_frame_is_left_for_a_newer_one_until_the_run_is_nearly_over(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    run_once(scripted, decode_s=60.0, run_s=3600.0)
    scripted.show(2)
    time.sleep(0.05)
    assert scripted.frame_queue.cameras == 1, "it grows old decoded"
    scripted.show(3)
    scripted.session.release(2)
    assert [scripted.next().id, scripted.next().id] == ["request", 3]


@pytest.mark.parametrize(("decode_s", "run_s"), [(0.0, 0.0), (4000.0, 3600.0)])
def test_a_cameras_frame_is_decoded_in_time_for_the_end_of_the_run(start_pipeline, decode_s, run_s) -> None:
    scripted = start_pipeline(held=True)
    run_once(scripted, decode_s, run_s)
    scripted.show(2)
    scripted.wait_until(lambda: not scripted.frame_queue.cameras)
    scripted.session.release(2)
    assert [scripted.next().id, scripted.next().id] == ["request", 2]


def test_a_cameras_frame_does_not_wait_for_a_run_that_is_over(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    run_once(scripted, decode_s=0.0, run_s=0.0)
    scripted.now += 3600.0
    scripted.session.release(2)
    assert scripted.next().id == "request"
    scripted.show(2)
    assert scripted.next().id == 2


def test_the_first_cameras_frame_is_taken_at_once_though_a_run_lasts(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    scripted.now = time.monotonic()
    scripted.send("request")
    assert scripted.session.running.wait(SOON_S)
    scripted.show(1)
    scripted.wait_until(lambda: not scripted.frame_queue.cameras)
    scripted.session.release(2)
