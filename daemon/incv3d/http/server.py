"""An HTTP server in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger

from incv3d.config import HttpSection
from incv3d.config.checks import split_http_address
from incv3d.http.access import gate, read_token
from incv3d.http.errors import HttpError
from incv3d.http.login import login_routes

BACKLOG = 16
"""Connections that may wait to be taken."""
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
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing of elsewhere is loaded, and no page from elsewhere shows what is here."""
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
        app = web.Application(middlewares=[gate(self._token)])
        app.add_routes(self._routes)
        if self._form:
            app.add_routes(login_routes(self._form, self._token))
        app.on_response_prepare.append(_protect)
        app.on_shutdown.append(self._end_streams)
        server_logger.addFilter(_is_no_senders_fault)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=CLOSING_S,
            keepalive_timeout=self._idle_s,
            max_line_size=LARGEST_LINE,
            max_field_size=LARGEST_LINE,
        )
        await runner.setup()
        try:
            site = web.SockSite(runner, self._socket, backlog=BACKLOG)
            await site.start()
            await self._closing.wait()
        finally:
            await runner.cleanup()

    async def _end_streams(self, app: web.Application) -> None:
        self._on_closing()


def _is_no_senders_fault(record: logging.LogRecord) -> bool:
    """Return whether a record is worth a line: a port scanner has its answer, and would fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], SENDERS_FAULTS))


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
