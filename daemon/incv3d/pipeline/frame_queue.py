"""The waiting room between those who bring frames and the one Session."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from incv3d.frames import Frame, Refusal

Sender = tuple[str, bytes]
"""A peer, as :attr:`incv3d.frames.Frame.sender` names it."""


@dataclass(slots=True)
class _Share:
    """What one peer has waiting."""

    frames: int = 0
    size_bytes: int = 0


class _Line:
    """The frames that one decoder takes: peers in turn, cameras and peers in turn.

    A peer that had nothing waiting is a newcomer and comes before the turn of those who always have, at most
    every other time: who sends now and then need not wait for a round. Served, it stays in the round until
    its turn has come, even with nothing waiting, so that coming back is no way to be a newcomer again (as
    new flows are in RFC 8290).
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.slots: dict[str, Frame] = {}  # by camera
        self.waiting = 0
        self._round: dict[Sender, deque[Frame]] = {}  # by peer, in the order of their turns
        self._newcomers: dict[Sender, deque[Frame]] = {}
        self._camera_turn = False
        self._newcomer_turn = True

    @property
    def camera_is_next(self) -> bool:
        return bool(self.slots) and (self._camera_turn or not self.waiting)

    def take_from_camera(self) -> Frame:
        self._camera_turn = False
        return self.slots.pop(next(iter(self.slots)))

    def add(self, frame: Frame) -> None:
        queue = self._round.get(frame.sender)
        if queue is None:
            queue = self._newcomers.setdefault(frame.sender, deque())
        queue.append(frame)
        self.waiting += 1

    def take_from_peer(self) -> Frame:
        self._camera_turn = True
        self._drop_absent()
        from_newcomer = bool(self._newcomers) and (self._newcomer_turn or not self._round)
        self._newcomer_turn = not from_newcomer
        line = self._newcomers if from_newcomer else self._round
        peer = next(iter(line))
        self._round[peer] = queue = line.pop(peer)  # to the back
        self.waiting -= 1
        return queue.popleft()

    def remove(self, unwanted: Callable[[Frame], bool]) -> list[Frame]:
        removed: list[Frame] = []
        for queue in (*self._round.values(), *self._newcomers.values()):
            removed += [frame for frame in queue if unwanted(frame)]
            kept = [frame for frame in queue if not unwanted(frame)]
            queue.clear()
            queue.extend(kept)
        self._newcomers = {peer: queue for peer, queue in self._newcomers.items() if queue}
        self.waiting -= len(removed)
        return removed

    def _drop_absent(self) -> None:
        """Let the turns of those pass who have nothing waiting."""
        while self._round and not next(iter(self._round.values())):
            del self._round[next(iter(self._round))]


class FrameQueue:
    """Bounded in frames and in bytes: requests wait in line, a camera's frame replaces its older one.

    A request is either admitted or refused at once; what is admitted is never turned out for another. A
    peer's frame is admitted if what the peer then has waiting, in frames and in bytes, is no more than what
    was free: one peer alone fills half the room, and the more have filled it, the less each may have, so
    that there is a place for the next (the dynamic thresholds of Choudhury and Hahne, 1998, with a factor of
    1). Peers are served in turn. A peer is one connection to the ZeroMQ door, or all of HTTP, or the
    broker: who floods over many connections is many peers.

    A camera has one slot: the newest frame wins, so that nobody is handed a stale one. When cameras and peers
    wait, they are taken in turn: neither starves the other.

    There are two lines, so that frames that take long to decode hold up each other alone.

    :param limit: requests that may wait, in both lines together.
    :param limit_bytes: bytes that waiting requests may hold together; a single larger one is admitted
        when nothing else waits.
    :param peer_limit: requests of one peer that may wait.
    :param is_large: whether a frame belongs into the line of those that take long.
    """

    def __init__(
        self, limit: int, limit_bytes: int, peer_limit: int, is_large: Callable[[Frame], bool]
    ) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._peer_limit = peer_limit
        self._is_large = is_large
        self._lock = threading.Lock()
        self._lines = (_Line(self._lock), _Line(self._lock))
        self._slot_emptied = threading.Condition(self._lock)
        self._shares: dict[Sender, _Share] = {}
        self._total = _Share()
        self._closed = False

    def __len__(self) -> int:
        """Requests that wait."""
        return self._total.frames

    @property
    def cameras(self) -> int:
        """Cameras that have a frame waiting."""
        return sum(len(line.slots) for line in self._lines)

    @property
    def peers(self) -> int:
        """Peers that have requests waiting."""
        return len(self._shares)

    def set_limits(self, limit: int, limit_bytes: int, peer_limit: int) -> None:
        """Admit by other limits from now on; what waits already stays."""
        with self._lock:
            self._limit, self._limit_bytes, self._peer_limit = limit, limit_bytes, peer_limit

    def offer(self, frame: Frame, places_kept: int = 0) -> Refusal | None:
        """Put a request in line; returns why it was refused, or None.

        :param places_kept: how many places must stay free, unless nothing waits.
        """
        line = self._lines[self._is_large(frame)]
        with self._lock:
            if self._closed:
                return Refusal.SHUTTING_DOWN
            if not self._has_room_for(frame, places_kept):
                return Refusal.BUSY
            line.add(frame)
            self._count(frame, 1)
            line.changed.notify()
        return None

    def replace(self, frame: Frame) -> Frame | None:
        """Put a camera's newest frame in its slot; returns the one that it replaced, now dropped."""
        large = self._is_large(frame)
        line, other = self._lines[large], self._lines[not large]
        with self._lock:
            if self._closed:
                return frame
            dropped = other.slots.pop(frame.source, None) or line.slots.get(frame.source)
            line.slots[frame.source] = frame
            line.changed.notify()
        return dropped

    def wait_until_taken(self, source: str, timeout_s: float) -> bool:
        """Wait until the slot of the camera `source` is empty; False when it was not in time."""
        with self._slot_emptied:
            return self._slot_emptied.wait_for(
                lambda: not any(source in line.slots for line in self._lines), timeout_s
            )

    def take(self, large: bool, cameras_from: Callable[[], float] = lambda: 0.0) -> Frame | None:
        """Wait for the next frame of one line; None once the mailbox is closed.

        :param cameras_from: the moment (monotonic) until which a camera's frame is left in its slot, where
            a newer one may still replace it; asked again after :meth:`look_again`.
        """
        line = self._lines[large]
        with self._lock:
            while not self._closed:
                early_s = cameras_from() - time.monotonic() if line.camera_is_next else 0.0
                if line.camera_is_next and early_s <= 0:
                    self._slot_emptied.notify_all()
                    return line.take_from_camera()
                if line.waiting and not line.camera_is_next:
                    frame = line.take_from_peer()
                    self._count(frame, -1)
                    return frame
                line.changed.wait(early_s if early_s > 0 else None)
        return None

    def look_again(self) -> None:
        """Let those who wait for a camera's frame ask once more from when it may be taken.

        Nobody else is woken: a thread that finds nothing to do would hold up the answer to the run before.
        """
        with self._lock:
            for line in self._lines:
                if line.slots:
                    line.changed.notify_all()

    def purge(self, now: float) -> list[Frame]:
        """Take out the requests whose time to live has ended, and return them."""
        with self._lock:
            return self._remove(lambda frame: frame.has_expired(now))

    def close(self) -> list[Frame]:
        """Admit nothing more; returns the requests that waited and will not be taken."""
        with self._lock:
            self._closed = True
            waiting = self._remove(lambda frame: True)
            for line in self._lines:
                line.slots.clear()
                line.changed.notify_all()
            self._slot_emptied.notify_all()
        return waiting

    def _has_room_for(self, frame: Frame, places_kept: int) -> bool:
        if not self._total.frames:
            return True
        share = self._shares.get(frame.sender, _Share())
        free = self._limit - self._total.frames - places_kept
        free_bytes = self._limit_bytes - self._total.size_bytes
        return (
            share.frames < self._peer_limit
            and share.frames + 1 <= free
            and share.size_bytes + len(frame.data) <= free_bytes
        )

    def _remove(self, unwanted: Callable[[Frame], bool]) -> list[Frame]:
        removed = [frame for line in self._lines for frame in line.remove(unwanted)]
        for frame in removed:
            self._count(frame, -1)
        return removed

    def _count(self, frame: Frame, sign: int) -> None:
        share = self._shares.setdefault(frame.sender, _Share())
        for each in (share, self._total):
            each.frames += sign
            each.size_bytes += sign * len(frame.data)
        if not share.frames:
            del self._shares[frame.sender]
