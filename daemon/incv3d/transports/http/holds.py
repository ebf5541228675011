"""Hold the `busy` answers of HTTP clients that send again before `retry_ms` is over, as over ZeroMQ.

A client is recognised by its connection. Clients such as curl open a new connection for each request: a new
connection counts as that of a client at the same address that was told to wait and has closed its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from incv3d.transports.zeromq.retries import LONGEST_HOLD_S, PEERS_REMEMBERED

MOST_HELD = 128
"""Answers held at once. Each keeps a connection, which is a descriptor."""
LOOK_EVERY_S = 0.25
"""How often to look whether a client is still connected: aiohttp tells handlers that read or write."""


@dataclass(slots=True)
class _Told:
    address: str | None
    until: float


class Holds:
    """Remembers what clients were told, and for how long to hold the next refusal of each.

    All times are monotonic. All methods are called in the event loop.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[RequestHandler, _Told] = OrderedDict()  # the latest last
        self.held = 0
        """The number of refusals held now."""

    def tell(self, request: web.Request, until: float) -> None:
        """Remember that the sender of `request` was told not to send again before `until`."""
        self._told[request.protocol] = _Told(request.remote, until)
        self._told.move_to_end(request.protocol)
        if len(self._told) > PEERS_REMEMBERED:
            self._told.popitem(last=False)

    def admit(self, request: web.Request, now: float) -> None:
        """Forget what the sender of `request` was told: its frame has found room."""
        self._take(request, now)

    def hold_s(self, request: web.Request, now: float) -> float:
        """Return how long to hold the refusal of `request`; 0: its sender is not too early."""
        told = self._take(request, now)
        if told is None or self.held >= MOST_HELD:
            return 0.0
        return min(told.until - now, LONGEST_HOLD_S)

    async def wait(self, request: web.Request, answer: Future[Any], hold_s: float) -> bool:
        """Hold a refusal for `hold_s`; return early if the client is gone, or with True if `answer` came."""
        end = time.monotonic() + hold_s
        settled = asyncio.wrap_future(answer)
        self.held += 1
        try:
            while request.transport and (left_s := end - time.monotonic()) > 0 and not settled.done():
                await asyncio.wait([settled], timeout=min(left_s, LOOK_EVERY_S))
        finally:
            self.held -= 1
        return not answer.cancel()

    def _take(self, request: web.Request, now: float) -> _Told | None:
        """Return what the sender of `request` was told, if the time is not over, and forget it."""
        for connection in [each for each, told in self._told.items() if told.until <= now]:
            del self._told[connection]
        if told := self._told.pop(request.protocol, None):
            return told
        for connection, told in self._told.items():
            if connection.transport is None and told.address == request.remote:  # it was closed
                return self._told.pop(connection)
        return None
