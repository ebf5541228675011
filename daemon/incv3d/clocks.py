"""How old a frame is by the clock of its sender, as far as that clock can be believed.

A Raspberry Pi has no clock that runs while the power is off: until NTP has set it, it can be years behind.
So a time that a sender gives is compared with what is known of its connection.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LOG = logging.getLogger(__name__)
BELIEVED_S = 60.0
"""A frame may have been captured so long before its connection was first heard of."""
SKEW_S = 1.0
"""A clock that is behind by no more than this cannot be told from frames that are all as late."""
AHEAD_S = 0.1
"""Clocks that are set by NTP can differ by this, which is not worth a word."""
PEERS_REMEMBERED = 1024
MOST_WARNINGS = 100


@dataclass(slots=True)
class _Sender:
    """What is known of one sender's clock."""

    first_heard: float
    least_behind_s: float = math.inf
    is_wrong: bool = False
    is_warned_of: bool = False


class SenderClocks:
    """Judges the times that the senders at one door give; for one thread."""

    def __init__(self) -> None:
        self._senders: OrderedDict[bytes, _Sender] = OrderedDict()  # the latest last
        self._warnings: set[str] = set()

    def age_s(self, peer: bytes, where: Callable[[], str], received: float, behind_s: float) -> float:
        """How old a frame was when it was received; 0 where its sender's clock is not believed.

        A capture that lies ahead is not believed, nor one that lies further behind than the sender has been
        known and :data:`BELIEVED_S`. The fastest frame so far tells how far the clock itself is behind, up to
        :data:`SKEW_S`.

        :param peer: tells the senders apart.
        :param where: the sender's address, for the log.
        :param received: when the frame was received (monotonic).
        :param behind_s: how far its time of capture is behind our clock then.
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
        said = f"a sender at {where()}: captured_at lies {how}"
        # One that connects for each frame is a new sender each time.
        if said not in self._warnings and len(self._warnings) < MOST_WARNINGS:
            self._warnings.add(said)
            LOG.warning("%s, is its clock right? Its ttl_ms and age_ms count from receipt", said)


def _words(seconds: float) -> str:
    for unit_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.1f} s"
