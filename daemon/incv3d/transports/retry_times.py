"""Slow down clients that send again before the time that a `busy` answer named (``retry_ms``).

Such a client sends its next frame as soon as it has an answer. Many of them would be rejected thousands of
times a second, which takes the processor from the Session. But each of them waits for its answer, so a late
answer slows it down. Each transport holds the answers in its own way, by the same times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

LONGEST_HOLD_S = 5.0
"""Clients with a timeout of their own should get their answer before they give up."""
PEERS_REMEMBERED = 1024

Peer = TypeVar("Peer", bound=Hashable)


@dataclass(slots=True)
class _RetryTime:
    until: float
    was_held: bool
    """Whether the peer's last answer was held."""


class RetryTimes(Generic[Peer]):
    """Remember until when peers were told to wait. Not thread-safe; all times are monotonic.

    :param on_forgotten: called with every peer that is forgotten.
    """

    def __init__(self, on_forgotten: Callable[[Peer], None] = lambda peer: None) -> None:
        self._times: OrderedDict[Peer, _RetryTime] = OrderedDict()  # the latest last
        self._on_forgotten = on_forgotten

    def __contains__(self, peer: Peer) -> bool:
        """Return whether `peer` was told to wait, and is not forgotten."""
        return peer in self._times

    def tell(self, peer: Peer, until: float, was_held: bool = False) -> None:
        """Remember that `peer` was told not to send again before `until`.

        :param was_held: whether that answer was held.
        """
        self._times[peer] = _RetryTime(until, was_held)
        self._times.move_to_end(peer)
        if len(self._times) > PEERS_REMEMBERED:
            forgotten, _ = self._times.popitem(last=False)
            self._on_forgotten(forgotten)

    def forget(self, peer: Peer) -> None:
        """Forget what `peer` was told, for example because its frame was queued."""
        if self._times.pop(peer, None):
            self._on_forgotten(peer)

    def hold_until(self, peer: Peer, now: float) -> float:
        """Return until when to hold a `busy` answer to `peer`; `now`: it is not too early."""
        told = self._times.get(peer)
        return max(now, min(told.until, now + LONGEST_HOLD_S)) if told else now

    def has_waited(self, peer: Peer, now: float) -> bool:
        """Return whether `peer` was told to wait, and has done so."""
        told = self._times.get(peer)
        return told is not None and (told.was_held or now >= told.until)
