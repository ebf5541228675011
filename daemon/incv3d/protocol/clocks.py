"""Compute the age of a frame from its sender's clock, if that clock is plausible.

A Raspberry Pi has no clock that runs while the power is off: until NTP sets it, it can be years behind.
Therefore the time in a request is checked against the history of its connection.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LOG = logging.getLogger(__name__)
BELIEVED_S = 60.0
"""The longest plausible time between the capture of a frame and the first message of its connection."""
SKEW_S = 1.0
"""A clock that is behind by up to this much cannot be distinguished from frames that are all late."""
AHEAD_S = 0.1
"""Clocks set by NTP can differ by this much; it is not logged."""
PEERS_REMEMBERED = 1024
MOST_WARNINGS = 100


@dataclass(slots=True)
class _Sender:
    """The history of one sender's clock."""

    first_heard: float
    least_behind_s: float = math.inf
    is_wrong: bool = False
    is_warned_of: bool = False


class SenderClocks:
    """Checks the times in requests. Not thread-safe."""

    def __init__(self) -> None:
        self._senders: OrderedDict[bytes, _Sender] = OrderedDict()  # the latest last
        self._warnings: set[str] = set()

    def age_s(self, peer: bytes, where: Callable[[], str], received: float, behind_s: float) -> float:
        """Return a frame's age when it was received; 0 if its sender's clock is not plausible.

        A time of capture is implausible if it is in the future, or earlier than the sender's first message by
        more than :data:`BELIEVED_S`. The fastest frame so far shows how far the clock itself is behind, up to
        :data:`SKEW_S`.

        :param peer: identifies the sender.
        :param where: returns the sender's address, for the log.
        :param received: time of receipt (monotonic).
        :param behind_s: how far its time of capture was behind our clock then.
        """
        sender = self._sender(peer, received)
        known_s = 0.0 if sender.is_wrong else received - sender.first_heard
        if behind_s > BELIEVED_S + known_s:
            sender.is_wrong = True
            self._warn(sender, where, f"{_words(behind_s)} back")
            return 0.0
        if behind_s < 0:
            if behind_s < -AHEAD_S:
                self._warn(sender, where, f"{_words(-behind_s)} ahead")
            return 0.0
        sender.least_behind_s = min(sender.least_behind_s, behind_s)
        return behind_s - min(sender.least_behind_s, SKEW_S)

    def _sender(self, peer: bytes, received: float) -> _Sender:
        sender = self._senders.setdefault(peer, _Sender(received))
        self._senders.move_to_end(peer)
        if len(self._senders) > PEERS_REMEMBERED:
            self._senders.popitem(last=False)
        return sender

    def _warn(self, sender: _Sender, where: Callable[[], str], how: str) -> None:
        if sender.is_warned_of:
            return
        sender.is_warned_of = True
        message = f"a sender at {where()}: captured_at lies {how}"
        # A client that connects for each frame is a new sender each time.
        if message not in self._warnings and len(self._warnings) < MOST_WARNINGS:
            self._warnings.add(message)
            LOG.warning("%s; check its clock. Its ttl_ms and age_ms count from receipt", message)


def _words(seconds: float) -> str:
    for unit_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.1f} s"
