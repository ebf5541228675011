"""Puts together what is served over HTTP, as the daemon holds it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec

from incv3d.config import HttpSection
from incv3d.frames import Result
from incv3d.http.errors import HttpError
from incv3d.mailbox import Mailbox
from incv3d.standing import Standing

LOG = logging.getLogger(__name__)
LIBRARIES = ("aiohttp", "prometheus_client")


class Http:
    """The server and those that it serves for.

    What it needs is imported here only: a daemon without it saves the memory.

    :param look: how the daemon stands.
    :param picture: makes the encoded picture with which ``/readyz`` tries whether frames get through.
    :param on_death: told the thread's name and the error when the server's thread cannot go on.
    :raises HttpError: a library is missing.
    """

    def __init__(
        self,
        section: HttpSection,
        mailbox: Mailbox,
        look: Callable[[], Standing],
        picture: Callable[[], bytes],
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        if missing := [name for name in LIBRARIES if find_spec(name) is None]:
            raise HttpError(f"http.bind: {' and '.join(missing)} missing: pip install 'incv3d[http]'")
        from incv3d.http.exposition import metrics_routes
        from incv3d.http.health import Readiness, health_routes
        from incv3d.http.server import HttpServer
        from incv3d.sinks.metrics import Metrics

        self.metrics = Metrics(look)
        self._readiness = Readiness(mailbox, picture)
        routes = [*health_routes(look, self._readiness), *metrics_routes(self.metrics)]
        self._server = HttpServer(section, routes, on_death)

    def open(self) -> None:
        """Listen, and begin to serve.

        :raises HttpError: the token's file or the address cannot be used.
        """
        self._server.open()
        self._server.start()
        LOG.info("health and metrics at %s", self._server.url)

    def complete(self, result: Result) -> None:
        """A result has left; called by the thread that sends them."""
        self._readiness.complete(result)

    def close(self, timeout_s: float) -> bool:
        """Stop to serve; False when that did not happen in time."""
        return self._server.close(timeout_s)
