"""Keep the newest frame of each camera, and wake the threads that wait for frames."""

from __future__ import annotations

import threading
import time

from queued_frames import LARGE_BYTES, SOON_S, Waiting, frame, room, shot, taken, taker


def test_a_cameras_newest_frame_replaces_its_older_one_and_no_other_cameras() -> None:
    frame_queue = room()
    assert frame_queue.replace(shot("old", "porch")) is None
    assert frame_queue.replace(shot("other", "garden")) is None
    dropped = frame_queue.replace(shot("new", "porch"))
    assert dropped and dropped.id == "old"
    assert taken(frame_queue, 2) == ["new", "other"]


def test_a_cameras_newest_frame_replaces_its_older_one_of_another_size_too() -> None:
    frame_queue = room()
    frame_queue.replace(shot("small", "porch"))
    dropped = frame_queue.replace(shot("large", "porch", LARGE_BYTES))
    assert dropped and dropped.id == "small"
    assert taken(frame_queue, 1, large=True) == ["large"]


def test_cameras_and_requests_are_taken_in_turn() -> None:
    frame_queue = room()
    for name in ("r1", "r2", "r3"):
        frame_queue.offer(frame(name))
    order = []
    for number in range(3):
        frame_queue.replace(shot(f"c{number}", "camera"))
        order += taken(frame_queue, 2)
    assert order == ["r1", "c0", "r2", "c1", "r3", "c2"]


def test_takers_that_wait_are_woken_by_their_frame_and_by_closing() -> None:
    frame_queue = room()
    small, large = taker(frame_queue), taker(frame_queue, large=True)
    frame_queue.offer(frame("large", size_bytes=LARGE_BYTES))
    assert large.end() == "large"
    frame_queue.offer(frame("small"))
    assert small.end() == "small"
    of_camera = taker(frame_queue)
    frame_queue.replace(shot("camera", "porch"))
    assert of_camera.end() == "camera"
    small, large = taker(frame_queue), taker(frame_queue, large=True)
    frame_queue.close()
    assert small.end() is None and large.end() is None


def test_a_taker_that_waits_costs_no_processor_time() -> None:
    frame_queue = room()
    idle = taker(frame_queue)
    time.sleep(0.2)
    frame_queue.close()
    assert idle.end() is None and idle.cpu_s < 0.02


def test_a_cameras_frame_can_be_replaced_until_it_is_time_to_take_it() -> None:
    frame_queue = room()
    frame_queue.replace(shot("old", "porch"))
    asked = threading.Semaphore(0)
    ready = threading.Event()

    def camera_time() -> float:
        asked.release()
        return 0.0 if ready.is_set() else time.monotonic() + 3600

    waiting = taker(frame_queue, camera_time=camera_time)
    assert asked.acquire(timeout=SOON_S)
    assert frame_queue.replace(shot("new", "porch")), "it was taken too early"
    assert asked.acquire(timeout=SOON_S)
    waiting.settle()
    ready.set()
    frame_queue.recheck_cameras()
    assert waiting.end() == "new"


def test_a_cameras_frame_is_taken_when_it_is_time_neither_sooner_nor_much_later() -> None:
    frame_queue = room()
    frame_queue.replace(shot("only", "porch"))
    due = time.monotonic() + 0.1
    assert taker(frame_queue, camera_time=lambda: due).end() == "only"
    assert 0.0 <= time.monotonic() - due < SOON_S / 2


def test_a_request_does_not_wait_for_the_time_of_a_camera_whose_turn_it_is_not() -> None:
    frame_queue = room()
    frame_queue.replace(shot("camera", "porch"))
    frame_queue.offer(frame("request"))
    taken_first = frame_queue.take(False, lambda: time.monotonic() + 3600)
    assert taken_first and taken_first.id == "request"


def test_who_brings_frames_can_wait_until_one_was_taken() -> None:
    frame_queue = room()
    frame_queue.replace(shot("a", "porch"))
    assert not frame_queue.wait_until_taken("porch", timeout_s=0.01)
    assert frame_queue.wait_until_taken("garden", timeout_s=0.0), "another camera's slot is empty"
    waiter = Waiting(lambda: frame_queue.wait_until_taken("porch", timeout_s=3600))
    assert taken(frame_queue, 1) == ["a"]
    assert waiter.end() is True


def test_closing_wakes_a_camera_that_waits_until_its_frame_is_taken() -> None:
    frame_queue = room()
    frame_queue.replace(shot("a", "porch"))
    waiter = Waiting(lambda: frame_queue.wait_until_taken("porch", timeout_s=3600))
    frame_queue.close()
    assert waiter.end() is True and frame_queue.cameras == 0


def test_the_cameras_that_have_a_frame_waiting_are_counted() -> None:
    frame_queue = room()
    for name, camera, size_bytes in (
        ("a", "porch", 10),
        ("b", "porch", 10),
        ("c", "garden", 10),
        ("d", "yard", LARGE_BYTES),
    ):
        frame_queue.replace(shot(name, camera, size_bytes))
    assert frame_queue.cameras == 3
    taken(frame_queue, 1)
    assert frame_queue.cameras == 2
