"""An HTTP server in a thread of its own."""

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
from aiohttp.web_protocol import RequestHandler

from incv3d.config.checks import split_http_address
from incv3d.config.network import HttpSection
from incv3d.transports.http.auth import gate, read_token
from incv3d.transports.http.connections import Connections
from incv3d.transports.http.errors import HttpError
from incv3d.transports.http.login import login_routes

LOG = logging.getLogger(__name__)
BACKLOG = 128
"""Connections that may wait in the kernel to be accepted."""
ACCEPTED_AT_ONCE = 16
"""Connections that the event loop accepts before it turns to those that it has."""
LINGERING_S = 2.0
"""How long the rest of a refused body is read and dropped, so that its sender sees the answer."""
CLOSING_S = 1.0
"""What answers that are under way have to end, when the server closes."""
IDLE_S = 30.0
"""Connections are descriptors, which the daemon's door needs too."""
PROTECTION = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing of elsewhere is loaded, and no page from elsewhere shows what is here.

With ``no-referrer`` a browser sends ``Origin: null`` with the page's own form (WHATWG Fetch, 3.1)."""
TURNS = 5
LOG_EVERY_S = 60.0
LARGEST_LINE = 4096
"""Bytes of a request line or of a header."""
SENDERS_FAULTS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""What aiohttp raises for a message that is not HTTP, and for a connection that breaks off."""


class HttpServer:
    """Serves `routes`, which know nothing of each other, to those who may see them.

    :param on_death: told the thread's name and the error when the thread cannot go on.
    :param on_closing: called in the event loop, to end answers that would never end by themselves.
    :param form: where a browser gives the token; None: there is nothing for browsers.
    :param idle_s: a connection without a whole request for so long is closed.
    """

    def __init__(
        self,
        section: HttpSection,
        routes: Sequence[web.AbstractRouteDef],
        on_death: Callable[[str, BaseException], None],
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
        self._thread = threading.Thread(target=self._guard, name="http", daemon=True)
        self.url = ""
        """Where it serves, once it is open."""

    def open(self) -> None:
        """Read the token and listen.

        :raises HttpError: the token's file or the address cannot be used.
        """
        if self._section.token_file:
            self._token = read_token(Path(self._section.token_file))
        self._socket = _listen(self._section.bind)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Let what is under way end, and close; False when that did not happen in time."""
        if self._thread.ident:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._loop.close()
        if self._socket:
            self._socket.close()
        return True

    def _guard(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
            self._on_death(self._thread.name, error)

    async def _serve(self) -> None:
        assert self._socket
        connections = Connections()
        app = web.Application(middlewares=[gate(self._token, connections)])
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
        restraint = _Restraint()
        LOG.addFilter(restraint)
        try:
            listener = await self._loop.create_server(connect, sock=self._socket, backlog=ACCEPTED_AT_ONCE)
            self._socket.listen(BACKLOG)  # asyncio takes one number for both
            await self._closing.wait()
            # Those just accepted must be set up before the listener closes: asyncio loses them otherwise.
            self._loop.remove_reader(self._socket)
            await _settle()
            listener.close()
        finally:
            await runner.cleanup()
            await _settle()
            LOG.removeFilter(restraint)

    async def _end_streams(self, app: web.Application) -> None:
        self._on_closing()


class _Restraint(logging.Filter):
    """Lets through one record a minute: strangers must not fill the log.

    Of what is the sender's fault it lets through none: a port scanner has its answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        if record.exc_info and isinstance(record.exc_info[1], SENDERS_FAULTS):
            return False
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOG_EVERY_S
        return True


async def _settle() -> None:
    """Let asyncio finish what it began with connections; setting one up or closing it takes a few turns."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio reports. It tells of a connection that it cannot accept many times a second."""
    error = context.get("exception")
    if isinstance(error, OSError):
        LOG.warning("http: %s: %s", context["message"], error.strerror)
    else:
        LOG.error("http: %s", context["message"], exc_info=error)


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
        raise HttpError(f"http.bind: cannot listen on {bind}: {error.strerror}") from None
    return listener
