"""Hold the `busy` answers of ZeroMQ clients that send again too early, see :mod:`..retry_times`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from incv3d.transports.retry_times import RetryTimes
from incv3d.transports.zeromq.replies import Request

MOST_HELD = 1024
"""Answers held at once, about as many as there can be connections ..."""
MOST_HELD_BYTES = 2**20
"""... the memory of their envelopes and ids ..."""
MOST_HELD_OF_ONE = 16
"""... and how many for one peer. A peer that sends on without its answers is not slowed down by waiting."""
PART_BYTES = 64
"""The memory of a part of an envelope beyond its length."""


@dataclass(order=True, slots=True)
class _Held:
    until: float
    request_id: int
    request: Request = field(compare=False)
    size_bytes: int = field(compare=False)


class RetryLimiter:
    """Remember what peers were told, and hold the answers of those that come early. Not thread-safe.

    All times are monotonic.
    """

    def __init__(self) -> None:
        self._times = RetryTimes[bytes]()
        self._held: list[_Held] = []  # a heap
        self._held_of: Counter[bytes] = Counter()
        self._held_bytes = 0

    def __len__(self) -> int:
        """Return the number of answers held."""
        return len(self._held)

    def others(self, peer: bytes) -> int:
        """Return how many peers other than `peer` have answers held."""
        return len(self._held_of) - (peer in self._held_of)

    def tell(self, peer: bytes, until: float, was_held: bool = False) -> None:
        """Remember that `peer` was told not to send again before `until`.

        :param was_held: whether that answer was held.
        """
        self._times.tell(peer, until, was_held)

    def admit(self, peer: bytes) -> None:
        """Forget what `peer` was told: its frame was queued."""
        self._times.forget(peer)

    def places_kept(self, peer: bytes, now: float) -> int:
        """Return how many free places in the queue a frame of `peer` must leave to others.

        While answers are held, the last place is for those that have waited since they were rejected:
        otherwise a peer that has just got its labels, and comes again, would always be faster.
        """
        return 1 if self._held and not self._times.has_waited(peer, now) else 0

    def hold(self, request: Request, now: float) -> bool:
        """Hold the answer to `request` if its peer came too early; return False to send it at once."""
        until = self._times.hold_until(request.peer, now)
        size_bytes = sum(len(part) + PART_BYTES for part in request.envelope) + len(str(request.id))
        if (
            until <= now
            or len(self._held) >= MOST_HELD
            or self._held_bytes + size_bytes > MOST_HELD_BYTES
            or self._held_of[request.peer] >= MOST_HELD_OF_ONE
        ):
            return False
        heapq.heappush(self._held, _Held(until, request.request_id, request, size_bytes))
        self._held_of[request.peer] += 1
        self._held_bytes += size_bytes
        return True

    def wait_s(self, now: float) -> float | None:
        """Return the time until a held answer is due; None: none is held."""
        return max(0.0, self._held[0].until - now) if self._held else None

    def due(self, now: float) -> Iterator[Request]:
        """Yield the requests whose answers are due, and stop holding them."""
        while self._held and self._held[0].until <= now:
            held = heapq.heappop(self._held)
            self._held_bytes -= held.size_bytes
            self._held_of[held.request.peer] -= 1
            if not self._held_of[held.request.peer]:
                del self._held_of[held.request.peer]
            yield held.request
