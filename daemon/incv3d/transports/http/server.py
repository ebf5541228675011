"""An aiohttp server in its own thread."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from incv3d.config.checks import split_http_address
from incv3d.config.network import HttpSection
from incv3d.threads import OnDeath, start_thread
from incv3d.transports.errors import TransportError
from incv3d.transports.http.auth import auth_middleware, read_token
from incv3d.transports.http.connections import Connections
from incv3d.transports.http.login import login_routes

LOG = logging.getLogger(__name__)
BACKLOG = 128
"""Connections that may wait in the kernel to be accepted."""
ACCEPTED_AT_ONCE = 16
"""Connections that the event loop accepts before it turns to those that it has."""
LINGERING_S = 2.0
"""How long the rest of a rejected body is read and dropped, so that its sender sees the answer."""
CLOSING_S = 1.0
"""The time for answers that are being sent to end when the server closes."""
IDLE_S = 30.0
"""Idle connections are closed after this time: they take file descriptors, which ZeroMQ needs too."""
PROTECTION = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Pages load nothing from other sites, and other sites cannot show them.

With ``no-referrer`` a browser sends ``Origin: null`` with the page's own form (WHATWG Fetch, 3.1)."""
SETTLING_ROUNDS = 5
LOG_INTERVAL_S = 60.0
LARGEST_LINE = 4096
"""Bytes of a request line or of a header."""
CLIENT_ERRORS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""What aiohttp raises for a message that is not HTTP, and for a connection that breaks."""


class HttpServer:
    """Serve `routes` to clients with access.

    :param on_death: called with the thread's name and the error when the thread dies.
    :param on_closing: called in the event loop, to end answers that would never end by themselves.
    :param form: the page where a browser gives the token; None: nothing is for browsers.
    :param idle_s: the timeout for a connection without a complete request.
    """

    def __init__(
        self,
        section: HttpSection,
        routes: Sequence[web.AbstractRouteDef],
        on_death: OnDeath,
        on_closing: Callable[[], None] = lambda: None,
        form: Path | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        self._section = section
        self._routes = routes
        self._on_death = on_death
        self._on_closing = on_closing
        self._form = form
        self._idle_s = idle_s
        self._token: str | None = None
        self._socket: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None
        self.url = ""
        """The address, once the server is open."""

    def open(self) -> None:
        """Read the token, and bind the address.

        :raises SettingError: the token's file cannot be used.
        :raises TransportError: the address cannot be used.
        """
        if self._section.token_file:
            self._token = read_token(Path(self._section.token_file))
        self._socket = _listen(self._section.bind)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Start to serve."""
        self._thread = start_thread("http", self._run, self._on_death)

    def close(self, timeout_s: float) -> bool:
        """Finish the answers that are being sent, and close; return False if that takes too long."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._loop.close()
        if self._socket:
            self._socket.close()
        return True

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        assert self._socket
        connections = Connections()
        app = web.Application(middlewares=[_check_dates, auth_middleware(self._token, connections)])
        app.add_routes(self._routes)
        if self._form:
            app.add_routes(login_routes(self._form, self._token))
        app.on_response_prepare.append(_protect)
        app.on_shutdown.append(self._end_streams)
        runner = web.AppRunner(
            app,
            logger=LOG,
            access_log=None,
            shutdown_timeout=CLOSING_S,
            keepalive_timeout=self._idle_s,
            lingering_time=LINGERING_S,
            max_line_size=LARGEST_LINE,
            max_field_size=LARGEST_LINE,
        )
        await runner.setup()
        server = runner.server
        assert server

        def connect() -> RequestHandler:
            connections.make_room(server.connections)
            return server()

        self._loop.set_exception_handler(_note)
        log_limit = _LogLimit()
        LOG.addFilter(log_limit)
        try:
            listener = await self._loop.create_server(connect, sock=self._socket, backlog=ACCEPTED_AT_ONCE)
            self._socket.listen(BACKLOG)  # asyncio takes one number for both
            await self._closing.wait()
            # New connections must be set up before the listener closes: asyncio loses them otherwise.
            self._loop.remove_reader(self._socket)
            await _settle()
            listener.close()
        finally:
            await runner.cleanup()
            await _settle()
            LOG.removeFilter(log_limit)

    async def _end_streams(self, app: web.Application) -> None:
        self._on_closing()


class _LogLimit(logging.Filter):
    """Pass one record a minute, and none about a client's error: unknown clients must not fill the log."""

    def __init__(self) -> None:
        super().__init__()
        self._next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        if record.exc_info and isinstance(record.exc_info[1], CLIENT_ERRORS):
            return False
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOG_INTERVAL_S
        return True


async def _settle() -> None:
    """Let asyncio finish setting up and closing connections, which takes a few rounds of its loop."""
    for _ in range(SETTLING_ROUNDS):
        await asyncio.sleep(0)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio reports: many times a second if it cannot accept a connection."""
    error = context.get("exception")
    if isinstance(error, OSError):
        LOG.warning("http: %s: %s", context["message"], error.strerror)
    else:
        LOG.error("http: %s", context["message"], exc_info=error)


@web.middleware
async def _check_dates(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject dates that no calendar has: aiohttp would fail at them only when it sends a file."""
    try:
        _ = request.if_modified_since, request.if_unmodified_since, request.if_range
    except OverflowError:
        return web.Response(status=400, text="a date in the header of the request is not valid\n")
    return await handler(request)


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(PROTECTION)


def _listen(bind: str) -> socket.socket:
    host, port = split_http_address("bind", bind)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise TransportError(f"http.bind: cannot listen on {bind}: {error.strerror}") from None
    return listener
