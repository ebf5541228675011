"""The waiting room: bounded, fair between peers, newest-wins for cameras, a line apart for large frames."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from incv3d.frames import Frame, Refusal
from incv3d.pipeline.frame_queue import FrameQueue

LARGE_BYTES = 1000
SOON_S = 10


def frame(
    name: str, peer: str = "p", size_bytes: int = 10, deadline: float | None = None, source: str = "zmq"
) -> Frame:
    data = bytes(size_bytes)
    return Frame(source, data, None, 0.0, 0.0, id=name, peer=peer.encode(), deadline=deadline)


def shot(name: str, camera: str, size_bytes: int = 10) -> Frame:
    return frame(name, peer="", size_bytes=size_bytes, source=camera)


def room(limit: int = 100, limit_bytes: int = 1_000_000, peer_limit: int = 100) -> FrameQueue:
    return FrameQueue(limit, limit_bytes, peer_limit, lambda frame: len(frame.data) >= LARGE_BYTES)


class Waiting:
    """A thread that waits for the mailbox, and what it was given in the end."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.given: object = None
        self.cpu_s = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.settle()

    def _run(self) -> None:
        self.given = self._call()
        self.cpu_s = time.thread_time()

    def settle(self) -> None:
        """Return once the thread sleeps, or has ended: whatever the mailbox does next must wake it."""
        give_up = time.monotonic() + SOON_S
        while self._thread.is_alive():
            innermost = sys._current_frames().get(self._thread.ident or 0)
            if innermost and innermost.f_code is threading.Condition.wait.__code__:
                return
            assert time.monotonic() < give_up, "the thread never sleeps"
            time.sleep(0.001)

    def end(self) -> object:
        """What it was given."""
        self._thread.join(SOON_S)
        assert not self._thread.is_alive(), "it still waits"
        return self.given


def taker(
    mailbox: FrameQueue, large: bool = False, cameras_from: Callable[[], float] = lambda: 0.0
) -> Waiting:
    """A thread that takes one frame; it is given the frame's id."""

    def take() -> object:
        got = mailbox.take(large, cameras_from)
        return got and got.id

    return Waiting(take)


def taken(mailbox: FrameQueue, count: int, large: bool = False) -> list[object]:
    return [got.id for got in (mailbox.take(large) for _ in range(count)) if got]


def test_one_peers_requests_are_taken_in_the_order_in_which_they_came() -> None:
    mailbox = room()
    for name in "abc":
        assert mailbox.offer(frame(name)) is None
    assert taken(mailbox, 3) == ["a", "b", "c"]


def test_peers_are_served_in_turn_however_many_requests_one_has() -> None:
    mailbox = room()
    for name in ("f1", "f2", "f3", "f4", "f5"):
        mailbox.offer(frame(name, "flood"))
    for peer in "ab":
        mailbox.offer(frame(f"{peer}1", peer))
        mailbox.offer(frame(f"{peer}2", peer))
    assert taken(mailbox, 9) == ["f1", "f2", "a1", "f3", "b1", "a2", "f4", "b2", "f5"]


def test_who_had_nothing_waiting_comes_before_the_round() -> None:
    mailbox = room()
    for number in range(6):
        mailbox.offer(frame(f"f{number}", "flood"))
        mailbox.offer(frame(f"g{number}", "other flood"))
    taken(mailbox, 5)
    mailbox.offer(frame("a", "now and then"))
    assert "a" in taken(mailbox, 2)


def test_coming_back_at_once_gives_nobody_more_than_a_share() -> None:
    mailbox = room()
    served: Counter[str] = Counter()
    for _ in range(30):
        for peer in ("flood", "a", "b"):
            mailbox.offer(frame(peer, peer))
        served.update(map(str, taken(mailbox, 1)))
    assert max(served.values()) - min(served.values()) <= 2, served


def test_a_stream_of_newcomers_starves_nobody_and_leaves_nothing_behind() -> None:
    mailbox = room()
    for _ in range(20):
        mailbox.offer(frame("steady", "steady"))
    names: list[object] = []
    for number in range(20):
        mailbox.offer(frame("new", f"newcomer {number}"))
        names += taken(mailbox, 1)
    assert 9 <= names.count("steady") <= 11
    taken(mailbox, len(mailbox))
    for number in range(1000):
        mailbox.offer(frame("new", f"short-lived {number}"))
        taken(mailbox, 1)
    assert all(len(line._round) + len(line._newcomers) <= 12 for line in mailbox._lines)


def test_one_peer_fills_half_the_room_and_is_admitted_again_when_one_was_taken() -> None:
    mailbox = room(limit=4)
    assert [mailbox.offer(frame(name)) for name in "abc"] == [None, None, Refusal.BUSY]
    mailbox.take(False)
    assert mailbox.offer(frame("d")) is None and len(mailbox) == 2


def test_a_place_can_be_kept_free_unless_nothing_waits() -> None:
    mailbox = room(limit=2)
    assert mailbox.offer(frame("a", "one"), 1) is None
    assert mailbox.offer(frame("b", "two"), 1) is Refusal.BUSY
    assert mailbox.offer(frame("b", "two")) is None
    mailbox = room(limit=1)
    assert mailbox.offer(frame("a", "one"), 1) is None


def test_a_peer_has_its_own_limit() -> None:
    mailbox = room(limit=100, peer_limit=2)
    assert [mailbox.offer(frame(name)) for name in "abc"] == [None, None, Refusal.BUSY]
    assert mailbox.offer(frame("x", "other")) is None


def test_the_same_name_over_another_way_in_is_another_peer() -> None:
    """A ZeroMQ client may call itself as it likes: ``http``, ``mqtt``, or nothing."""
    for name in ("", "http", "mqtt"):
        mailbox = room(limit=8, peer_limit=2)
        for number in range(2):
            assert mailbox.offer(frame(f"z{number}", name)) is None
        assert mailbox.offer(frame("z2", name)) is Refusal.BUSY
        for way in ("http", "mqtt"):
            assert mailbox.offer(frame(way, "", source=way)) is None


def test_two_that_flood_leave_a_place_for_the_next_two() -> None:
    mailbox = room(limit=8, peer_limit=4)
    for number in range(20):
        mailbox.offer(frame(f"a{number}", "flood-a"))
        mailbox.offer(frame(f"b{number}", "flood-b"))
    assert mailbox.offer(frame("c", "honest")) is None
    assert mailbox.offer(frame("d", "slow")) is None
    assert mailbox.peers == 4


def test_the_room_is_never_fuller_than_its_limit() -> None:
    mailbox = room(limit=8)
    outcomes = [mailbox.offer(frame("x", f"peer {number}")) for number in range(20)]
    assert outcomes == [None] * 8 + [Refusal.BUSY] * 12 and len(mailbox) == 8


def test_beyond_the_bytes_a_request_is_refused_but_a_large_one_alone_is_admitted() -> None:
    mailbox = room(limit_bytes=100)
    assert mailbox.offer(frame("large", size_bytes=500)) is None
    assert mailbox.offer(frame("small", "other", size_bytes=1)) is Refusal.BUSY
    mailbox.take(False)
    assert mailbox.offer(frame("small", size_bytes=30)) is None
    assert mailbox.offer(frame("second", size_bytes=50)) is Refusal.BUSY, "it left nothing for others"
    assert mailbox.offer(frame("another's", "other", size_bytes=50)) is None


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([1, 300, 2000]), st.booleans()), max_size=60)
)
def test_whatever_comes_the_bounds_hold_and_every_request_comes_out_once(
    moves: list[tuple[str, int, bool]],
) -> None:
    mailbox = room(limit=6, limit_bytes=4000, peer_limit=3)
    admitted: list[str] = []
    out: list[object] = []
    waiting: Counter[bool] = Counter()
    for number, (peer, size_bytes, take) in enumerate(moves):
        large = size_bytes >= LARGE_BYTES
        if take and waiting[large]:
            out += taken(mailbox, 1, large)
            waiting[large] -= 1
        elif mailbox.offer(frame(f"{peer}{number}", peer, size_bytes)) is None:
            admitted.append(f"{peer}{number}")
            waiting[large] += 1
        assert len(mailbox) == sum(waiting.values()) <= 6
    out += [left.id for left in mailbox.close()]
    assert sorted(map(str, out)) == sorted(admitted)
    assert len(mailbox) == mailbox.peers == 0


def test_large_frames_and_ordinary_ones_do_not_wait_for_each_other() -> None:
    mailbox = room()
    mailbox.offer(frame("large 1", size_bytes=LARGE_BYTES))
    mailbox.offer(frame("large 2", "other", size_bytes=LARGE_BYTES))
    mailbox.offer(frame("small"))
    assert taken(mailbox, 1, large=False) == ["small"]
    assert taken(mailbox, 2, large=True) == ["large 1", "large 2"]


def test_a_cameras_newest_frame_replaces_its_older_one_and_no_other_cameras() -> None:
    mailbox = room()
    assert mailbox.replace(shot("old", "porch")) is None
    assert mailbox.replace(shot("other", "garden")) is None
    dropped = mailbox.replace(shot("new", "porch"))
    assert dropped and dropped.id == "old"
    assert taken(mailbox, 2) == ["new", "other"]


def test_a_cameras_newest_frame_replaces_its_older_one_of_another_size_too() -> None:
    mailbox = room()
    mailbox.replace(shot("small", "porch"))
    dropped = mailbox.replace(shot("large", "porch", LARGE_BYTES))
    assert dropped and dropped.id == "small"
    assert taken(mailbox, 1, large=True) == ["large"]


def test_cameras_and_requests_are_taken_in_turn() -> None:
    mailbox = room()
    for name in ("r1", "r2", "r3"):
        mailbox.offer(frame(name))
    order = []
    for number in range(3):
        mailbox.replace(shot(f"c{number}", "camera"))
        order += taken(mailbox, 2)
    assert order == ["r1", "c0", "r2", "c1", "r3", "c2"]


def test_expired_requests_can_be_taken_out_to_make_room() -> None:
    mailbox = room(limit=4)
    mailbox.offer(frame("old", deadline=1.0))
    mailbox.offer(frame("fresh", deadline=9.0))
    assert mailbox.offer(frame("next")) is Refusal.BUSY
    assert [each.id for each in mailbox.purge(5.0)] == ["old"]
    assert mailbox.offer(frame("next")) is None
    assert taken(mailbox, 2) == ["fresh", "next"]


def test_closing_hands_back_the_requests_that_wait_and_refuses_more() -> None:
    mailbox = room()
    mailbox.offer(frame("a"))
    mailbox.offer(frame("b", size_bytes=LARGE_BYTES))
    mailbox.replace(shot("c", "camera"))
    assert [waiting.id for waiting in mailbox.close()] == ["a", "b"]
    assert mailbox.take(False) is None and mailbox.take(True) is None
    assert mailbox.offer(frame("d")) is Refusal.SHUTTING_DOWN
    late = shot("e", "camera")
    assert mailbox.replace(late) is late


def test_takers_that_wait_are_woken_by_their_frame_and_by_closing() -> None:
    mailbox = room()
    small, large = taker(mailbox), taker(mailbox, large=True)
    mailbox.offer(frame("large", size_bytes=LARGE_BYTES))
    assert large.end() == "large"
    mailbox.offer(frame("small"))
    assert small.end() == "small"
    of_camera = taker(mailbox)
    mailbox.replace(shot("camera", "porch"))
    assert of_camera.end() == "camera"
    small, large = taker(mailbox), taker(mailbox, large=True)
    mailbox.close()
    assert small.end() is None and large.end() is None


def test_a_taker_that_waits_costs_no_processor_time() -> None:
    mailbox = room()
    idle = taker(mailbox)
    time.sleep(0.2)
    mailbox.close()
    assert idle.end() is None and idle.cpu_s < 0.02


def test_a_cameras_frame_can_be_replaced_until_it_is_time_to_take_it() -> None:
    mailbox = room()
    mailbox.replace(shot("old", "porch"))
    asked = threading.Semaphore(0)
    ready = threading.Event()

    def cameras_from() -> float:
        asked.release()
        return 0.0 if ready.is_set() else time.monotonic() + 3600

    waiting = taker(mailbox, cameras_from=cameras_from)
    assert asked.acquire(timeout=SOON_S)
    assert mailbox.replace(shot("new", "porch")), "it was taken too early"
    assert asked.acquire(timeout=SOON_S)
    waiting.settle()
    ready.set()
    mailbox.look_again()
    assert waiting.end() == "new"


def test_a_cameras_frame_is_taken_when_it_is_time_neither_sooner_nor_much_later() -> None:
    mailbox = room()
    mailbox.replace(shot("only", "porch"))
    due = time.monotonic() + 0.1
    assert taker(mailbox, cameras_from=lambda: due).end() == "only"
    assert 0.0 <= time.monotonic() - due < SOON_S / 2


def test_a_request_does_not_wait_for_the_time_of_a_camera_whose_turn_it_is_not() -> None:
    mailbox = room()
    mailbox.replace(shot("camera", "porch"))
    mailbox.offer(frame("request"))
    taken_first = mailbox.take(False, lambda: time.monotonic() + 3600)
    assert taken_first and taken_first.id == "request"


def test_who_brings_frames_can_wait_until_one_was_taken() -> None:
    mailbox = room()
    mailbox.replace(shot("a", "porch"))
    assert not mailbox.wait_until_taken("porch", timeout_s=0.01)
    assert mailbox.wait_until_taken("garden", timeout_s=0.0), "another camera's slot is empty"
    waiter = Waiting(lambda: mailbox.wait_until_taken("porch", timeout_s=3600))
    assert taken(mailbox, 1) == ["a"]
    assert waiter.end() is True


def test_closing_wakes_a_camera_that_waits_until_its_frame_is_taken() -> None:
    mailbox = room()
    mailbox.replace(shot("a", "porch"))
    waiter = Waiting(lambda: mailbox.wait_until_taken("porch", timeout_s=3600))
    mailbox.close()
    assert waiter.end() is True and mailbox.cameras == 0


def test_the_cameras_that_have_a_frame_waiting_are_counted() -> None:
    mailbox = room()
    for name, camera, size_bytes in (
        ("a", "porch", 10),
        ("b", "porch", 10),
        ("c", "garden", 10),
        ("d", "yard", LARGE_BYTES),
    ):
        mailbox.replace(shot(name, camera, size_bytes))
    assert mailbox.cameras == 3
    taken(mailbox, 1)
    assert mailbox.cameras == 2


def test_other_limits_hold_for_the_next_request_and_what_waits_stays() -> None:
    for limits in ({"limit": 1}, {"limit_bytes": 15}, {"peer_limit": 1}):
        mailbox = room()
        mailbox.offer(frame("a"))
        mailbox.offer(frame("b"))
        mailbox.set_limits(**{"limit": 100, "limit_bytes": 1_000_000, "peer_limit": 100, **limits})
        assert mailbox.offer(frame("c")) is Refusal.BUSY, limits
        mailbox.set_limits(100, 1_000_000, 100)
        assert mailbox.offer(frame("d")) is None
        assert taken(mailbox, 3) == ["a", "b", "d"]


def test_a_peer_may_take_exactly_as_many_bytes_as_it_leaves_free() -> None:
    mailbox = room(limit_bytes=100)
    assert mailbox.offer(frame("a", size_bytes=40)) is None
    assert mailbox.offer(frame("b", size_bytes=21)) is Refusal.BUSY
    assert mailbox.offer(frame("b", size_bytes=20)) is None


def test_a_peer_whose_every_request_has_expired_leaves_no_trace() -> None:
    mailbox = room()
    mailbox.offer(frame("old", "gone", deadline=1.0))
    mailbox.offer(frame("fresh", "here"))
    assert [each.id for each in mailbox.purge(2.0)] == ["old"]
    assert (len(mailbox), mailbox.peers) == (1, 1)
    assert taken(mailbox, 1) == ["fresh"]
    waiting = taker(mailbox)
    mailbox.offer(frame("next", "gone"))
    assert waiting.end() == "next"
