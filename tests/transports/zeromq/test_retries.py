"""What peers were told, and which refusals are held for how long."""

from __future__ import annotations

from incv3d.transports.retry_times import LONGEST_HOLD_S, PEERS_REMEMBERED
from incv3d.transports.zeromq.replies import Request
from incv3d.transports.zeromq.retries import MOST_HELD, MOST_HELD_BYTES, MOST_HELD_OF_ONE, RetryLimiter


def request(peer: bytes, *parts: bytes, request_id: int = 1) -> Request:
    return Request([peer, *parts], None, request_id=request_id)


def held(retries: RetryLimiter, number: int, *parts: bytes, of: int = MOST_HELD_OF_ONE) -> int:
    """Let each of `number` peers come too soon `of` times; returns how many of these are held."""
    count = 0
    for n in range(number):
        peer = n.to_bytes(4, "big")
        retries.tell(peer, 1.0)
        count += sum(retries.hold(request(peer, *parts, request_id=n * of + each), 0.0) for each in range(of))
    return count


def test_a_refusal_is_held_until_the_moment_that_its_peer_was_told() -> None:
    retries = RetryLimiter()
    early = request(b"early")
    assert not retries.hold(early, 0.0), "nobody told it anything"
    assert retries.wait_s(0.0) is None
    retries.tell(b"early", 2.0)
    assert retries.hold(early, 0.5)
    assert retries.wait_s(0.5) == 1.5
    assert list(retries.due(1.9)) == []
    assert list(retries.due(2.0)) == [early]
    assert not len(retries)
    assert not retries.hold(early, 2.0), "its time is over"


def test_they_come_out_in_the_order_of_their_moments() -> None:
    retries = RetryLimiter()
    for request_id, until in enumerate((3.0, 1.0, 2.0)):
        peer = bytes([request_id])
        retries.tell(peer, until)
        assert retries.hold(request(peer, request_id=request_id), 0.0)
    assert [each.request_id for each in retries.due(5.0)] == [1, 2, 0]


def test_who_has_found_room_was_told_nothing() -> None:
    retries = RetryLimiter()
    retries.tell(b"peer", 9.0)
    retries.admit(b"peer")
    assert not retries.hold(request(b"peer"), 0.0)


def test_nothing_is_held_for_longer_than_senders_wait() -> None:
    retries = RetryLimiter()
    retries.tell(b"peer", 3600.0)
    retries.hold(request(b"peer"), 0.0)
    assert retries.wait_s(0.0) == LONGEST_HOLD_S


def test_what_is_held_is_bounded_in_all_of_one_peer_and_in_bytes() -> None:
    assert held(RetryLimiter(), 1, of=1000) == MOST_HELD_OF_ONE
    assert held(RetryLimiter(), 1000) == MOST_HELD
    retries = RetryLimiter()
    count = held(retries, 100, *[b"x" * 255] * 60)
    assert MOST_HELD_BYTES // (61 * (255 + 64)) - 1 <= count <= MOST_HELD_BYTES // (60 * 255)
    assert len(list(retries.due(1.0))) == count
    assert held(retries, 1000) == MOST_HELD, "what was sent still counted"


def test_of_many_peers_the_latest_are_remembered() -> None:
    retries = RetryLimiter()
    for number in range(PEERS_REMEMBERED + 1):
        retries.tell(number.to_bytes(4, "big"), 1.0)
    assert not retries.hold(request((0).to_bytes(4, "big")), 0.0)
    assert retries.hold(request((1).to_bytes(4, "big")), 0.0)


def test_as_long_as_refusals_are_held_the_last_place_is_for_those_that_have_waited() -> None:
    retries = RetryLimiter()
    retries.tell(b"early", 1.0)
    assert retries.places_kept(b"new", 0.0) == 0, "nobody waits for it"
    retries.hold(request(b"early"), 0.0)
    assert retries.places_kept(b"new", 0.0) == 1
    assert retries.places_kept(b"early", 0.9) == 1
    assert retries.places_kept(b"early", 1.0) == 0, "it came when it was told"
    retries.tell(b"held before", 2.0, was_held=True)
    assert retries.places_kept(b"held before", 0.9) == 0
    retries.admit(b"held before")
    assert retries.places_kept(b"held before", 0.9) == 1


def test_the_others_are_those_whose_refusals_are_held() -> None:
    retries = RetryLimiter()
    assert held(retries, 3, of=2) == 6
    assert retries.others(b"new") == 3
    assert retries.others((0).to_bytes(4, "big")) == 2
    assert len(list(retries.due(1.0))) == 6
    assert retries.others(b"new") == 0
