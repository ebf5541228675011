"""Hold the `busy` answers of HTTP clients that send again too early, see :mod:`..retry_times`.

A client is recognized by its connection. Clients such as curl open a new connection for each request: a new
connection counts as that of a client at the same address that was told to wait and has closed its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from incv3d.transports.retry_times import RetryTimes

MOST_HELD = 128
"""Answers held at once. Each keeps a connection, which is a descriptor."""
CHECK_INTERVAL_S = 0.25
"""How often to check whether a client is still connected: aiohttp tells handlers that read or write."""
MOST_COMPARED = 8
"""Connections of an address to check, at most, for one that is closed."""


@dataclass(frozen=True, slots=True)
class _Client:
    connection: RequestHandler
    address: str | None = field(compare=False)


class Holds:
    """Remember what clients were told, and how long to hold the next rejection of each.

    All times are monotonic. All methods are called in the event loop.
    """

    def __init__(self) -> None:
        self._times = RetryTimes[_Client](self._forgotten)
        self._at: dict[str | None, OrderedDict[_Client, None]] = {}  # the clients that were told, by address
        self.held = 0
        """The number of answers held now."""

    def tell(self, request: web.Request, until: float) -> None:
        """Remember that the sender of `request` was told not to send again before `until`."""
        client = _Client(request.protocol, request.remote)
        self._at.setdefault(client.address, OrderedDict())[client] = None
        self._times.tell(client, until)

    def admit(self, request: web.Request, now: float) -> None:
        """Forget what the sender of `request` was told: its frame was queued."""
        if self._at:
            self._times.forget(self._find(request, now))

    def hold_s(self, request: web.Request, now: float) -> float:
        """Return how long to hold the rejection of `request`; 0: its sender is not too early."""
        client = self._find(request, now)
        until = self._times.hold_until(client, now)
        self._times.forget(client)
        return until - now if self.held < MOST_HELD else 0.0

    async def wait(self, request: web.Request, answer: Awaitable[Any], hold_s: float) -> None:
        """Hold a rejection for `hold_s`; return early if the client is gone or `answer` is there."""
        end = time.monotonic() + hold_s
        settled = asyncio.ensure_future(answer)
        self.held += 1
        try:
            while request.transport and (left_s := end - time.monotonic()) > 0 and not settled.done():
                await asyncio.wait([settled], timeout=min(left_s, CHECK_INTERVAL_S))
        finally:
            self.held -= 1

    def _find(self, request: web.Request, now: float) -> _Client:
        """Return the client that sent `request`: of this connection, or of a closed one of its address."""
        client = _Client(request.protocol, request.remote)
        if client in self._times:
            return client
        others = self._at.get(client.address, OrderedDict())
        for other in list(islice(others, MOST_COMPARED)):
            if self._times.hold_until(other, now) <= now:
                self._times.forget(other)
            elif other.connection.transport is None:
                return other
            else:
                others.move_to_end(other)  # so that the next search compares others
        return client

    def _forgotten(self, client: _Client) -> None:
        others = self._at[client.address]
        del others[client]
        if not others:
            del self._at[client.address]
