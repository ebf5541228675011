"""Limit the connections to the HTTP server, so that unknown clients leave room for others and for ZeroMQ."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator, Sequence

from aiohttp.web_protocol import RequestHandler

MOST_UNKNOWN = 64
"""Connections without an accepted request; more for a moment while many connect at once."""
MOST_KNOWN = 256
"""Connections with an accepted request: 16 browsers with up to 6 each, and programs."""


class Connections:
    """Distinguish unknown clients, whose connection had no accepted request yet, from known ones.

    When the limit of unknown ones is reached, a new connection closes the oldest of the address that has most
    of them: a flood from one machine closes its own connections first.

    All methods are called in the event loop.
    """

    def __init__(self) -> None:
        self._known: set[RequestHandler] = set()
        self._closing: set[RequestHandler] = set()

    def make_room(self, connections: Sequence[RequestHandler]) -> None:
        """Close connections of unknown clients until there is room for one more.

        :param connections: the open connections, oldest first.
        """
        self._known.intersection_update(connections)
        self._closing.intersection_update(connections)
        unknown = list(self._unknown(connections))
        counts = Counter(address for address, _ in unknown)
        for _ in range(len(unknown) - MOST_UNKNOWN + 1):
            busiest, _ = counts.most_common(1)[0]
            counts[busiest] -= 1
            oldest = next(pair for pair in unknown if pair[0] == busiest)
            unknown.remove(oldest)
            self._close(oldest[1])

    def admit(self, connection: RequestHandler) -> bool:
        """Note that `connection` had an accepted request; return False if there are too many such."""
        if connection not in self._known and len(self._known) >= MOST_KNOWN:
            return False
        self._known.add(connection)
        return True

    def _unknown(self, connections: Sequence[RequestHandler]) -> Iterator[tuple[str, RequestHandler]]:
        for each in connections:
            if each not in self._known and each not in self._closing and each.transport:
                peer = each.transport.get_extra_info("peername")
                yield (peer[0] if peer else ""), each

    def _close(self, connection: RequestHandler) -> None:
        self._closing.add(connection)
        if connection.transport:
            # Not `close` of the transport, which waits for a peer that reads nothing, nor `abort`: a handler
            # that sends a file would never notice.
            with contextlib.suppress(OSError):  # the peer closed it already
                connection.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
