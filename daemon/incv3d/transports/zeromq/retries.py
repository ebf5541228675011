"""When a peer that was answered `busy` may come again, and the answers of those that come sooner.

A sender in a loop that ignores ``retry_ms`` sends its next frame as soon as it has its answer. Many of them
would be refused thousands of times a second, which takes the processor from the Session. Such a sender waits
for each answer, so an answer that comes later slows it down.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from incv3d.transports.zeromq.replies import Request

LONGEST_HOLD_S = 5.0
"""Senders with a time limit of their own should get their answer before they give up."""
MOST_HELD = 1024
"""Refusals held at once, about as many as there can be connections ..."""
MOST_HELD_BYTES = 2**20
"""... the memory of their envelopes and ids ..."""
MOST_HELD_OF_ONE = 16
"""... and how many of one peer. A peer that sends on without its answers is not slowed down by waiting."""
PEERS_REMEMBERED = 1024
PART_BYTES = 64
"""The memory of a part of an envelope beyond its length."""


@dataclass(slots=True)
class _Told:
    until: float
    has_waited: bool
    """Whether its last refusal was held."""


@dataclass(order=True, slots=True)
class _Held:
    until: float
    request_id: int
    request: Request = field(compare=False)
    size_bytes: int = field(compare=False)


class RetryLimiter:
    """Remembers what peers were told, and holds the refusals of those that come sooner. Not thread-safe.

    All times are monotonic.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[bytes, _Told] = OrderedDict()  # by peer, the latest last
        self._held: list[_Held] = []  # a heap
        self._held_of: Counter[bytes] = Counter()
        self._held_bytes = 0

    def __len__(self) -> int:
        """Return the number of refusals held."""
        return len(self._held)

    def others(self, peer: bytes) -> int:
        """Return how many peers other than `peer` have refusals held."""
        return len(self._held_of) - (peer in self._held_of)

    def tell(self, peer: bytes, until: float, has_waited: bool = False) -> None:
        """Remember that `peer` was told not to send again before `until`.

        :param has_waited: its refusal was held.
        """
        self._told[peer] = _Told(until, has_waited)
        self._told.move_to_end(peer)
        if len(self._told) > PEERS_REMEMBERED:
            self._told.popitem(last=False)

    def admit(self, peer: bytes) -> None:
        """Forget what `peer` was told: its frame has found room."""
        self._told.pop(peer, None)

    def places_kept(self, peer: bytes, now: float) -> int:
        """Return how many free places a frame of `peer` must leave to others.

        The last place is for those that have waited since they were refused, as long as refusals are held:
        otherwise a peer that has just had its label, and comes again, would always come before them.
        """
        told = self._told.get(peer)
        has_waited = told is not None and (told.has_waited or now >= told.until)
        return 0 if has_waited or not self._held else 1

    def hold(self, request: Request, now: float) -> bool:
        """Hold the refusal of `request` if its peer came too early; False: it is to be sent at once."""
        told = self._told.get(request.peer)
        until = min(told.until, now + LONGEST_HOLD_S) if told else now
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
        """Return how long it is until a refusal is due; None: none is held."""
        return max(0.0, self._held[0].until - now) if self._held else None

    def due(self, now: float) -> Iterator[Request]:
        """Yield the requests whose refusals are due; they are held no more."""
        while self._held and self._held[0].until <= now:
            held = heapq.heappop(self._held)
            self._held_bytes -= held.size_bytes
            self._held_of[held.request.peer] -= 1
            if not self._held_of[held.request.peer]:
                del self._held_of[held.request.peer]
            yield held.request
