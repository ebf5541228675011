"""Remember when each peer last sent a message."""

from __future__ import annotations

from collections import OrderedDict

PEERS_REMEMBERED = 1024


class RecentPeers:
    """Note when peers send messages (monotonic). Any thread may ask."""

    def __init__(self) -> None:
        self._heard: OrderedDict[bytes, float] = OrderedDict()  # the latest last

    def note(self, peer: bytes, now: float) -> None:
        """Note that `peer` has sent a message."""
        self._heard[peer] = now
        self._heard.move_to_end(peer)
        if len(self._heard) > PEERS_REMEMBERED:
            self._heard.popitem(last=False)

    def since(self, moment: float) -> set[bytes]:
        """Return the peers that have sent a message since `moment`."""
        return {peer for peer, heard in list(self._heard.items()) if heard >= moment}
