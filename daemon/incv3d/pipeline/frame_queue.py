"""Queue frames between their producers and the Session."""

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
    """The frames of one peer that are waiting."""

    frames: int = 0
    size_bytes: int = 0


class _Lane:
    """The frames that one decoder takes: peers in turn, and cameras and peers alternately.

    A new peer, one with no frames waiting, goes ahead of the round at most every other time, so that
    occasional senders need not wait for a whole round. Once served, it stays in the round until its turn
    comes, even with nothing waiting, so that it cannot become new again by leaving (as with new flows in RFC
    8290).
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.slots: dict[str, Frame] = {}  # by camera name
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
        peers = self._newcomers if from_newcomer else self._round
        peer = next(iter(peers))
        self._round[peer] = queue = peers.pop(peer)  # to the back
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
        """Remove peers with no frames waiting from the head of the round."""
        while self._round and not next(iter(self._round.values())):
            del self._round[next(iter(self._round))]


class FrameQueue:
    """Holds frames, bounded in number and bytes: requests queue up; a camera's frame replaces its older one.

    A request is admitted or rejected at once, and never dropped later in favor of another. A peer's frame is
    admitted if the frames and bytes that the peer would then have waiting do not exceed what was free. One
    peer alone can therefore fill half of the queue, and the fuller the queue, the smaller each share, so that
    there is room for the next peer (dynamic thresholds, Choudhury and Hahne, 1998, with a factor of 1). Peers
    are served in turn. A peer is one ZeroMQ connection, or all of HTTP, or the MQTT broker; a flood over many
    connections counts as many peers.

    A camera has one slot, in which the newest frame replaces the older one, so that no stale frame is
    classified. Cameras and peers are served alternately; neither starves the other.

    There are two lanes, so that frames that take long to decode delay only each other.

    :param limit: maximum number of waiting requests, in both lanes together.
    :param limit_bytes: maximum size of all waiting requests; a single larger one is admitted when nothing
        else waits.
    :param peer_limit: maximum number of waiting requests of one peer.
    :param is_large: returns whether a frame takes long to decode.
    """

    def __init__(
        self, limit: int, limit_bytes: int, peer_limit: int, is_large: Callable[[Frame], bool]
    ) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._peer_limit = peer_limit
        self._is_large = is_large
        self._lock = threading.Lock()
        self._lanes = (_Lane(self._lock), _Lane(self._lock))
        self._slot_emptied = threading.Condition(self._lock)
        self._shares: dict[Sender, _Share] = {}
        self._total = _Share()
        self._closed = False

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return self._total.frames

    @property
    def cameras(self) -> int:
        """The number of cameras with a waiting frame."""
        return sum(len(lane.slots) for lane in self._lanes)

    @property
    def peers(self) -> int:
        """The number of peers with waiting requests."""
        return len(self._shares)

    def set_limits(self, limit: int, limit_bytes: int, peer_limit: int) -> None:
        """Replace the limits. Requests already waiting stay."""
        with self._lock:
            self._limit, self._limit_bytes, self._peer_limit = limit, limit_bytes, peer_limit

    def offer(self, frame: Frame, places_kept: int = 0) -> Refusal | None:
        """Queue a request. Return the reason if it is rejected, else None.

        :param places_kept: places that must stay free, unless nothing is waiting.
        """
        lane = self._lanes[self._is_large(frame)]
        with self._lock:
            if self._closed:
                return Refusal.SHUTTING_DOWN
            if not self._has_room_for(frame, places_kept):
                return Refusal.BUSY
            lane.add(frame)
            self._count(frame, 1)
            lane.changed.notify()
        return None

    def replace(self, frame: Frame) -> Frame | None:
        """Put a camera's newest frame in its slot. Return the frame that was dropped for it, if any."""
        large = self._is_large(frame)
        lane, other = self._lanes[large], self._lanes[not large]
        with self._lock:
            if self._closed:
                return frame
            dropped = other.slots.pop(frame.source, None) or lane.slots.get(frame.source)
            lane.slots[frame.source] = frame
            lane.changed.notify()
        return dropped

    def wait_until_taken(self, source: str, timeout_s: float) -> bool:
        """Wait until the slot of the camera `source` is empty. Return False on timeout."""
        with self._slot_emptied:
            return self._slot_emptied.wait_for(
                lambda: not any(source in lane.slots for lane in self._lanes), timeout_s
            )

    def take(self, large: bool, camera_time: Callable[[], float] = lambda: 0.0) -> Frame | None:
        """Wait for the next frame of one lane. Return None once the queue is closed.

        :param camera_time: returns the time (monotonic) from which to take a camera's frame; until then a
            newer one may replace it. Called again after :meth:`recheck_cameras`.
        """
        lane = self._lanes[large]
        with self._lock:
            while not self._closed:
                early_s = camera_time() - time.monotonic() if lane.camera_is_next else 0.0
                if lane.camera_is_next and early_s <= 0:
                    self._slot_emptied.notify_all()
                    return lane.take_from_camera()
                if lane.waiting and not lane.camera_is_next:
                    frame = lane.take_from_peer()
                    self._count(frame, -1)
                    return frame
                lane.changed.wait(early_s if early_s > 0 else None)
        return None

    def recheck_cameras(self) -> None:
        """Make the decoders ask again when to take the next camera frame.

        Only decoders with a camera frame are woken: an idle thread would delay the answer to the run before.
        """
        with self._lock:
            for lane in self._lanes:
                if lane.slots:
                    lane.changed.notify_all()

    def purge(self, now: float) -> list[Frame]:
        """Remove the requests whose time to live has ended, and return them."""
        with self._lock:
            return self._remove(lambda frame: frame.has_expired(now))

    def close(self) -> list[Frame]:
        """Admit nothing more. Return the waiting requests, which will not be taken."""
        with self._lock:
            self._closed = True
            waiting = self._remove(lambda frame: True)
            for lane in self._lanes:
                lane.slots.clear()
                lane.changed.notify_all()
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
        removed = [frame for lane in self._lanes for frame in lane.remove(unwanted)]
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
