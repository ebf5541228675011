"""Bound the queue, and serve peers fairly."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from incv3d.frames import Refusal
from queued_frames import LARGE_BYTES, frame, room, shot, taken, taker


def test_one_peers_requests_are_taken_in_the_order_in_which_they_came() -> None:
    frame_queue = room()
    for name in "abc":
        assert frame_queue.offer(frame(name)) is None
    assert taken(frame_queue, 3) == ["a", "b", "c"]


def test_peers_are_served_in_turn_however_many_requests_one_has() -> None:
    frame_queue = room()
    for name in ("f1", "f2", "f3", "f4", "f5"):
        frame_queue.offer(frame(name, "flood"))
    for peer in "ab":
        frame_queue.offer(frame(f"{peer}1", peer))
        frame_queue.offer(frame(f"{peer}2", peer))
    assert taken(frame_queue, 9) == ["f1", "f2", "a1", "f3", "b1", "a2", "f4", "b2", "f5"]


def test_who_had_nothing_waiting_comes_before_the_round() -> None:
    frame_queue = room()
    for number in range(6):
        frame_queue.offer(frame(f"f{number}", "flood"))
        frame_queue.offer(frame(f"g{number}", "other flood"))
    taken(frame_queue, 5)
    frame_queue.offer(frame("a", "now and then"))
    assert "a" in taken(frame_queue, 2)


def test_coming_back_at_once_gives_nobody_more_than_a_share() -> None:
    frame_queue = room()
    served: Counter[str] = Counter()
    for _ in range(30):
        for peer in ("flood", "a", "b"):
            frame_queue.offer(frame(peer, peer))
        served.update(map(str, taken(frame_queue, 1)))
    assert max(served.values()) - min(served.values()) <= 2, served


def test_a_stream_of_newcomers_starves_nobody_and_leaves_nothing_behind() -> None:
    frame_queue = room()
    for _ in range(20):
        frame_queue.offer(frame("steady", "steady"))
    names: list[object] = []
    for number in range(20):
        frame_queue.offer(frame("new", f"newcomer {number}"))
        names += taken(frame_queue, 1)
    assert 9 <= names.count("steady") <= 11
    taken(frame_queue, len(frame_queue))
    for number in range(1000):
        frame_queue.offer(frame("new", f"short-lived {number}"))
        taken(frame_queue, 1)
    assert all(len(line._round) + len(line._newcomers) <= 12 for line in frame_queue._lanes)


def test_one_peer_fills_half_the_room_and_is_admitted_again_when_one_was_taken() -> None:
    frame_queue = room(limit=4)
    assert [frame_queue.offer(frame(name)) for name in "abc"] == [None, None, Refusal.BUSY]
    frame_queue.take(False)
    assert frame_queue.offer(frame("d")) is None and len(frame_queue) == 2


def test_a_place_can_be_kept_free_unless_nothing_waits() -> None:
    frame_queue = room(limit=2)
    assert frame_queue.offer(frame("a", "one"), 1) is None
    assert frame_queue.offer(frame("b", "two"), 1) is Refusal.BUSY
    assert frame_queue.offer(frame("b", "two")) is None
    frame_queue = room(limit=1)
    assert frame_queue.offer(frame("a", "one"), 1) is None


def test_a_peer_has_its_own_limit() -> None:
    frame_queue = room(limit=100, peer_limit=2)
    assert [frame_queue.offer(frame(name)) for name in "abc"] == [None, None, Refusal.BUSY]
    assert frame_queue.offer(frame("x", "other")) is None


def test_the_same_name_over_another_way_in_is_another_peer() -> None:
    """A ZeroMQ client may call itself as it likes: ``http``, ``mqtt``, or nothing."""
    for name in ("", "http", "mqtt"):
        frame_queue = room(limit=8, peer_limit=2)
        for number in range(2):
            assert frame_queue.offer(frame(f"z{number}", name)) is None
        assert frame_queue.offer(frame("z2", name)) is Refusal.BUSY
        for way in ("http", "mqtt"):
            assert frame_queue.offer(frame(way, "", source=way)) is None


def test_two_that_flood_leave_a_place_for_the_next_two() -> None:
    frame_queue = room(limit=8, peer_limit=4)
    for number in range(20):
        frame_queue.offer(frame(f"a{number}", "flood-a"))
        frame_queue.offer(frame(f"b{number}", "flood-b"))
    assert frame_queue.offer(frame("c", "honest")) is None
    assert frame_queue.offer(frame("d", "slow")) is None
    assert frame_queue.peers == 4


def test_the_room_is_never_fuller_than_its_limit() -> None:
    frame_queue = room(limit=8)
    outcomes = [frame_queue.offer(frame("x", f"peer {number}")) for number in range(20)]
    assert outcomes == [None] * 8 + [Refusal.BUSY] * 12 and len(frame_queue) == 8


def test_beyond_the_bytes_a_request_is_refused_but_a_large_one_alone_is_admitted() -> None:
    frame_queue = room(limit_bytes=100)
    assert frame_queue.offer(frame("large", size_bytes=500)) is None
    assert frame_queue.offer(frame("small", "other", size_bytes=1)) is Refusal.BUSY
    frame_queue.take(False)
    assert frame_queue.offer(frame("small", size_bytes=30)) is None
    assert frame_queue.offer(frame("second", size_bytes=50)) is Refusal.BUSY, "it left nothing for others"
    assert frame_queue.offer(frame("another's", "other", size_bytes=50)) is None


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([1, 300, 2000]), st.booleans()), max_size=60)
)
def test_whatever_comes_the_bounds_hold_and_every_request_comes_out_once(
    moves: list[tuple[str, int, bool]],
) -> None:
    frame_queue = room(limit=6, limit_bytes=4000, peer_limit=3)
    admitted: list[str] = []
    out: list[object] = []
    waiting: Counter[bool] = Counter()
    for number, (peer, size_bytes, take) in enumerate(moves):
        large = size_bytes >= LARGE_BYTES
        if take and waiting[large]:
            out += taken(frame_queue, 1, large)
            waiting[large] -= 1
        elif frame_queue.offer(frame(f"{peer}{number}", peer, size_bytes)) is None:
            admitted.append(f"{peer}{number}")
            waiting[large] += 1
        assert len(frame_queue) == sum(waiting.values()) <= 6
    out += [left.id for left in frame_queue.close()]
    assert sorted(map(str, out)) == sorted(admitted)
    assert len(frame_queue) == frame_queue.peers == 0


def test_large_frames_and_ordinary_ones_do_not_wait_for_each_other() -> None:
    frame_queue = room()
    frame_queue.offer(frame("large 1", size_bytes=LARGE_BYTES))
    frame_queue.offer(frame("large 2", "other", size_bytes=LARGE_BYTES))
    frame_queue.offer(frame("small"))
    assert taken(frame_queue, 1, large=False) == ["small"]
    assert taken(frame_queue, 2, large=True) == ["large 1", "large 2"]


def test_expired_requests_can_be_taken_out_to_make_room() -> None:
    frame_queue = room(limit=4)
    frame_queue.offer(frame("old", deadline=1.0))
    frame_queue.offer(frame("fresh", deadline=9.0))
    assert frame_queue.offer(frame("next")) is Refusal.BUSY
    assert [each.id for each in frame_queue.purge(5.0)] == ["old"]
    assert frame_queue.offer(frame("next")) is None
    assert taken(frame_queue, 2) == ["fresh", "next"]


def test_closing_hands_back_the_requests_that_wait_and_refuses_more() -> None:
    frame_queue = room()
    frame_queue.offer(frame("a"))
    frame_queue.offer(frame("b", size_bytes=LARGE_BYTES))
    frame_queue.replace(shot("c", "camera"))
    assert [waiting.id for waiting in frame_queue.close()] == ["a", "b"]
    assert frame_queue.take(False) is None and frame_queue.take(True) is None
    assert frame_queue.offer(frame("d")) is Refusal.SHUTTING_DOWN
    late = shot("e", "camera")
    assert frame_queue.replace(late) is late


def test_other_limits_hold_for_the_next_request_and_what_waits_stays() -> None:
    for limits in ({"limit": 1}, {"limit_bytes": 15}, {"peer_limit": 1}):
        frame_queue = room()
        frame_queue.offer(frame("a"))
        frame_queue.offer(frame("b"))
        frame_queue.set_limits(**{"limit": 100, "limit_bytes": 1_000_000, "peer_limit": 100, **limits})
        assert frame_queue.offer(frame("c")) is Refusal.BUSY, limits
        frame_queue.set_limits(100, 1_000_000, 100)
        assert frame_queue.offer(frame("d")) is None
        assert taken(frame_queue, 3) == ["a", "b", "d"]


def test_a_peer_may_take_exactly_as_many_bytes_as_it_leaves_free() -> None:
    frame_queue = room(limit_bytes=100)
    assert frame_queue.offer(frame("a", size_bytes=40)) is None
    assert frame_queue.offer(frame("b", size_bytes=21)) is Refusal.BUSY
    assert frame_queue.offer(frame("b", size_bytes=20)) is None


def test_a_peer_whose_every_request_has_expired_leaves_no_trace() -> None:
    frame_queue = room()
    frame_queue.offer(frame("old", "gone", deadline=1.0))
    frame_queue.offer(frame("fresh", "here"))
    assert [each.id for each in frame_queue.purge(2.0)] == ["old"]
    assert (len(frame_queue), frame_queue.peers) == (1, 1)
    assert taken(frame_queue, 1) == ["fresh"]
    waiting = taker(frame_queue)
    frame_queue.offer(frame("next", "gone"))
    assert waiting.end() == "next"
