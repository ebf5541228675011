"""The waiting room: bounded, newest-wins for cameras, first come first served for requests."""

from __future__ import annotations

import threading

from incv3d.frames import Frame, Refusal
from incv3d.mailbox import Mailbox


def frame(name: str, source: str = "zmq", size_bytes: int = 10) -> Frame:
    return Frame(source, bytes(size_bytes), None, received=0.0, captured=0.0, id=name)


def taken(mailbox: Mailbox, count: int) -> list[object]:
    return [got.id for got in (mailbox.take() for _ in range(count)) if got]


def test_requests_are_taken_in_the_order_in_which_they_came() -> None:
    mailbox = Mailbox(5, 1000)
    for name in "abc":
        assert mailbox.offer(frame(name)) is None
    assert taken(mailbox, 3) == ["a", "b", "c"]


def test_beyond_the_limit_a_request_is_refused_and_admitted_again_when_one_was_taken() -> None:
    mailbox = Mailbox(2, 1000)
    assert [mailbox.offer(frame(name)) for name in "abc"] == [None, None, Refusal.BUSY]
    mailbox.take()
    assert mailbox.offer(frame("d")) is None and len(mailbox) == 2


def test_beyond_the_bytes_a_request_is_refused_but_a_large_one_alone_is_admitted() -> None:
    mailbox = Mailbox(10, 100)
    assert mailbox.offer(frame("large", size_bytes=500)) is None
    assert mailbox.offer(frame("small", size_bytes=1)) is Refusal.BUSY
    mailbox.take()
    assert mailbox.offer(frame("small", size_bytes=60)) is None
    assert mailbox.offer(frame("small", size_bytes=40)) is None
    assert mailbox.offer(frame("small", size_bytes=1)) is Refusal.BUSY


def test_a_cameras_newest_frame_replaces_its_older_one_and_no_other_cameras() -> None:
    mailbox = Mailbox(1, 1000)
    assert mailbox.replace(frame("old", "porch")) is None
    assert mailbox.replace(frame("other", "garden")) is None
    dropped = mailbox.replace(frame("new", "porch"))
    assert dropped and dropped.id == "old"
    assert taken(mailbox, 2) == ["new", "other"]


def test_cameras_and_requests_are_taken_in_turn() -> None:
    mailbox = Mailbox(10, 1000)
    for name in ("r1", "r2", "r3"):
        mailbox.offer(frame(name))
    order = []
    for number in range(3):
        mailbox.replace(frame(f"c{number}", "camera"))
        order += taken(mailbox, 2)
    assert order == ["r1", "c0", "r2", "c1", "r3", "c2"]


def test_closing_hands_back_the_requests_that_wait_and_refuses_more() -> None:
    mailbox = Mailbox(10, 1000)
    mailbox.offer(frame("a"))
    mailbox.replace(frame("c", "camera"))
    assert [waiting.id for waiting in mailbox.close()] == ["a"]
    assert mailbox.take() is None
    assert mailbox.offer(frame("b")) is Refusal.SHUTTING_DOWN
    late = frame("d", "camera")
    assert mailbox.replace(late) is late


def test_a_taker_that_waits_is_woken_by_a_frame_and_by_closing() -> None:
    mailbox = Mailbox(10, 1000)
    got: list[Frame | None] = []

    def take_two() -> None:
        got.append(mailbox.take())
        first_taken.set()
        got.append(mailbox.take())

    first_taken = threading.Event()
    taker = threading.Thread(target=take_two)
    taker.start()
    mailbox.offer(frame("a"))
    assert first_taken.wait(10)
    mailbox.close()
    taker.join(10)
    assert [each and each.id for each in got] == ["a", None]
