"""Limits the connections to the HTTP server, so that strangers leave room for others and for ZeroMQ."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator, Sequence

from aiohttp.web_protocol import RequestHandler

MOST_STRANGERS = 64
"""The limit of connections without an accepted request; exceeded briefly while many connect at once."""
MOST_GUESTS = 256
"""Connections that have: 16 viewers of the page with up to 6 each, and programs."""


class Connections:
    """Tells strangers, whose connection has shown no token yet, from guests.

    With as many strangers as there may be, a new connection closes the oldest stranger of the address that
    has the most: a flood from one machine closes its own connections first.

    All methods are called in the event loop.
    """

    def __init__(self) -> None:
        self._guests: set[RequestHandler] = set()
        self._closing: set[RequestHandler] = set()

    def make_room(self, connections: Sequence[RequestHandler]) -> None:
        """Close strangers until there is room for one more.

        :param connections: those that are open, in the order in which they came.
        """
        self._guests.intersection_update(connections)
        self._closing.intersection_update(connections)
        strangers = list(self._strangers(connections))
        counts = Counter(address for address, _ in strangers)
        for _ in range(len(strangers) - MOST_STRANGERS + 1):
            busiest, _ = counts.most_common(1)[0]
            counts[busiest] -= 1
            oldest = next(pair for pair in strangers if pair[0] == busiest)
            strangers.remove(oldest)
            self._close(oldest[1])

    def admit(self, connection: RequestHandler) -> bool:
        """Make `connection` a guest; return whether there is room for it."""
        if connection not in self._guests and len(self._guests) >= MOST_GUESTS:
            return False
        self._guests.add(connection)
        return True

    def _strangers(self, connections: Sequence[RequestHandler]) -> Iterator[tuple[str, RequestHandler]]:
        for each in connections:
            if each not in self._guests and each not in self._closing and each.transport:
                peer = each.transport.get_extra_info("peername")
                yield (peer[0] if peer else ""), each

    def _close(self, connection: RequestHandler) -> None:
        self._closing.add(connection)
        if connection.transport:
            # Not the transport's `close`, which waits for a peer that reads nothing, nor its `abort`: a file
            # that is being sent would never learn of it.
            with contextlib.suppress(OSError):  # the peer closed it already
                connection.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
