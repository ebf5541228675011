"""When each peer was last heard of."""

from __future__ import annotations

from collections import OrderedDict

PEERS_REMEMBERED = 1024


class RecentPeers:
    """Notes the moments (monotonic) at which peers were heard of; any thread may ask."""

    def __init__(self) -> None:
        self._heard: OrderedDict[bytes, float] = OrderedDict()  # the latest last

    def note(self, peer: bytes, now: float) -> None:
        """Note that `peer` was heard of just now."""
        self._heard[peer] = now
        self._heard.move_to_end(peer)
        if len(self._heard) > PEERS_REMEMBERED:
            self._heard.popitem(last=False)

    def since(self, moment: float) -> set[bytes]:
        """Return the peers that were heard of since then."""
        return {peer for peer, heard in list(self._heard.items()) if heard >= moment}
