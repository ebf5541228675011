"""The latest seconds of a source, as the camera encoded them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from incv3d.frames import EncodedPacket


class PacketRing:
    """Holds packets from a key frame on, as many as fit. Not thread-safe.

    :param before_s: how much is kept while nothing is going on.
    :param max_bytes: the most bytes; the oldest go first.
    """

    def __init__(self, before_s: float, max_bytes: int) -> None:
        self._before_s = before_s
        self._max_bytes = max_bytes
        self._groups: deque[list[EncodedPacket]] = deque()
        """Each begins with a key frame, which the others need."""
        self.size_bytes = 0

    def add(self, packet: EncodedPacket, keep_since: float | None = None) -> None:
        """Add the next packet, and forget the oldest.

        :param keep_since: keep everything from this moment on, if it fits (monotonic); None: nothing is going
            on.
        """
        if packet.is_key:
            self._groups.append([packet])
        elif self._groups:
            self._groups[-1].append(packet)
        else:
            return  # nothing shows it without the key frame before
        self.size_bytes += len(packet.data)
        since = packet.at - self._before_s
        since = since if keep_since is None else min(since, keep_since)
        while len(self._groups) > 1 and (self.size_bytes > self._max_bytes or self._groups[1][0].at <= since):
            self._forget(self._groups.popleft())
        if self.size_bytes > self._max_bytes:
            self._forget(self._groups.popleft())  # a stream with too few key frames

    def between(self, begin: float, end: float) -> list[EncodedPacket]:
        """Return the packets up to `end`, from the key frame on that is nearest to `begin` (monotonic)."""
        groups = [group for group in self._groups if group[0].at <= end]
        if not groups:
            return []
        first = min(range(len(groups)), key=lambda number: abs(groups[number][0].at - begin))
        return [packet for group in groups[first:] for packet in group if packet.at <= end]

    def _forget(self, group: Iterable[EncodedPacket]) -> None:
        self.size_bytes -= sum(len(packet.data) for packet in group)
