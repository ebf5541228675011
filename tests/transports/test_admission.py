"""Which frames may wait for the Session, and what the senders of the others are told."""

from __future__ import annotations

import pytest

from incv3d.frames import Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.transports.admission import RETRY_MS, Admission

NOW = 100.0


class Door:
    """An admission to a frame_queue of four places, and the results of frames that it let go."""

    def __init__(self, pace_ms: float | None = None) -> None:
        self.frame_queue = FrameQueue(4, 1000, 4, lambda frame: False)
        self.let_go: list[Result] = []
        self.admission = Admission(self.frame_queue, lambda: pace_ms, self.let_go.append)


def frame(name: str, ttl_s: float | None = None, peer: str = "p") -> Frame:
    deadline = None if ttl_s is None else NOW + ttl_s
    return Frame("zmq", b"x", None, NOW, NOW, id=name, peer=peer.encode(), deadline=deadline)


def test_a_frame_that_finds_a_place_waits() -> None:
    door = Door()
    assert door.admission.admit(frame("a")) is None
    assert door.admission.admit(frame("b", ttl_s=1.0)) is None
    assert len(door.frame_queue) == 2 and not door.let_go


@pytest.mark.parametrize("ttl_s", [0.0, -1.0])
def test_a_frame_that_arrives_too_late_does_not_wait(ttl_s) -> None:
    door = Door()
    denial = door.admission.admit(frame("late", ttl_s))
    assert denial and denial.refusal is Refusal.EXPIRED and "when it arrived" in denial.detail
    assert denial.retry_ms is None and len(door.frame_queue) == 0


def test_a_refused_sender_is_told_how_many_frames_wait_and_when_to_come_again() -> None:
    door = Door(pace_ms=30.2)
    for name in "ab":
        assert door.admission.admit(frame(name)) is None
    denial = door.admission.admit(frame("c"))
    assert denial and denial.refusal is Refusal.BUSY and "2 frames wait" in denial.detail
    assert denial.retry_ms == 61, "two turns of 30.2 ms, rounded up"


def test_the_more_senders_will_come_again_the_later_each_is_told_to() -> None:
    door = Door(pace_ms=10.0)
    for name in "ab":
        door.admission.admit(frame(name))
    denial = door.admission.admit(frame("c"), others=5)
    assert denial and denial.retry_ms == 70
    assert door.admission.busy(3).retry_ms == 30
    assert door.admission.busy(3, others=1).retry_ms == 40


def test_a_refused_sender_is_never_told_to_come_before_one_turn_is_over() -> None:
    assert Door(pace_ms=10.0).admission.busy(0).retry_ms == 10


def test_a_second_is_what_refused_senders_are_told_until_the_pace_is_known() -> None:
    assert Door().admission.busy(4, others=7).retry_ms == RETRY_MS == 1000


def test_frames_whose_time_has_ended_make_room_and_are_answered() -> None:
    door = Door()
    assert door.admission.admit(frame("old", ttl_s=0.5)) is None
    assert door.admission.admit(frame("stays")) is None
    later = Frame("zmq", b"x", None, NOW + 1, NOW + 1, id="new", peer=b"p")
    assert door.admission.admit(later) is None
    (result,) = door.let_go
    assert (result.id, result.refusal) == ("old", Refusal.EXPIRED) and "before its turn" in result.detail
    assert len(door.frame_queue) == 2


def test_nothing_is_let_go_while_there_is_room() -> None:
    door = Door()
    door.admission.admit(frame("old", ttl_s=0.5))
    assert door.admission.admit(Frame("zmq", b"x", None, NOW + 1, NOW + 1, id="new", peer=b"p")) is None
    assert len(door.frame_queue) == 2 and not door.let_go


def test_places_are_kept_free_for_others_if_asked_for() -> None:
    for old_ttl_s in (None, 0.5):
        door = Door()
        door.admission.admit(frame("a", old_ttl_s, peer="one"))
        door.admission.admit(frame("b", peer="two"))
        later = Frame("zmq", b"x", None, NOW + 1, NOW + 1, id="c", peer=b"three")
        denial = door.admission.admit(later, places_kept=3)
        assert denial and denial.refusal is Refusal.BUSY
        assert door.admission.admit(later) is None


def test_as_many_as_there_are_places_may_wait_and_no_more() -> None:
    door = Door()
    denials = [door.admission.admit(frame("x", peer=f"peer {number}")) for number in range(6)]
    assert [denial and denial.refusal for denial in denials] == [None] * 4 + [Refusal.BUSY] * 2


def test_no_frame_may_wait_once_the_daemon_stops() -> None:
    door = Door()
    door.frame_queue.close()
    denial = door.admission.admit(frame("a"))
    assert denial and denial.refusal is Refusal.SHUTTING_DOWN
    assert denial.detail == "the daemon is stopping" and denial.retry_ms is None
