"""Puts together what is served over HTTP, as the daemon holds it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from incv3d.config.schema import Config
from incv3d.errors import pip_install
from incv3d.frames import Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.protocol import messages
from incv3d.protocol.events import EventMessage
from incv3d.transports.admission import Admission
from incv3d.transports.answers import Answers
from incv3d.transports.daemon_status import DaemonStatus
from incv3d.transports.http.errors import HttpUnusable

if TYPE_CHECKING:
    from incv3d.transports.http.webui.routes import WebUi

LOG = logging.getLogger(__name__)
LIBRARIES = {"aiohttp": "aiohttp", "prometheus_client": "prometheus-client"}
"""The packages by the names of their modules."""
THREAD = "http"


def need_libraries(key: str) -> None:
    """Raise HttpUnusable unless the libraries that the configuration's `key` needs are installed."""
    if missing := [package for module, package in LIBRARIES.items() if find_spec(module) is None]:
        raise HttpUnusable(f"{key}: {' and '.join(missing)} missing: {pip_install(*LIBRARIES.values())}")


class HttpTransport:
    """The server and those that it serves for.

    What it needs is imported here only: a daemon without it saves the memory.

    :param look: how the daemon stands.
    :param probe: makes the encoded picture with which ``/readyz`` tries whether frames get through.
    :param describe: answers ``stats``.
    :param answers: makes the JSON of answers.
    :param admission: puts a frame in line, or says why not.
    :param on_refused: told of every picture that never reached the pipeline.
    :param on_death: told the thread's name and the error when the server's thread cannot go on.
    :raises HttpUnusable: a library is missing.
    """

    def __init__(
        self,
        config: Config,
        frame_queue: FrameQueue,
        look: Callable[[], DaemonStatus],
        probe: Callable[[], bytes],
        describe: Callable[[messages.Operation], dict[str, Any]],
        answers: Answers,
        admission: Admission,
        on_refused: Callable[[Refusal], None],
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        need_libraries("http.bind")
        from incv3d.transports.http.classify import ClassifyHandler
        from incv3d.transports.http.exposition import metrics_routes
        from incv3d.transports.http.health import Readiness, health_routes
        from incv3d.transports.http.metrics import Metrics
        from incv3d.transports.http.server import HttpServer

        self.metrics = Metrics(look)
        self._readiness = Readiness(frame_queue, probe)
        self._intake = ClassifyHandler(config.intake, admission, answers, on_refused)
        self._page: WebUi | None = None
        routes = [
            *health_routes(look, self._readiness),
            *metrics_routes(self.metrics),
            *self._intake.routes(),
        ]
        if config.http.page:
            from incv3d.transports.http.webui.routes import FORM, WebUi

            self._page = WebUi(
                config.events.enabled,
                config.intake.max_pixels,
                lambda: describe("stats"),
                lambda error: on_death(THREAD, error),
            )
            routes += self._page.routes()
            self._server = HttpServer(config.http, routes, on_death, self._page.close, FORM)
        else:
            self._server = HttpServer(config.http, routes, on_death)

    def open(self) -> None:
        """Listen, and begin to serve.

        :raises HttpError: the token's file or the address cannot be used.
        """
        self._server.open()
        self._server.start()
        LOG.info("%shealth and metrics at %s", "page, " if self._page else "", self._server.url)

    def deliver(self, result: Result) -> None:
        """Answer `result`, if its frame came this way, and show it; callable from any thread."""
        self._intake.deliver(result)
        if self._page:
            self._page.deliver(result)

    def announce(self, announcement: EventMessage, frame: Frame | None = None) -> None:
        """Show an event; callable from any thread."""
        if self._page:
            self._page.announce(announcement, frame)

    def complete(self, result: Result) -> None:
        """A result has left; called by the thread that sends them."""
        self._readiness.complete(result)

    def adjust(self, config: Config) -> None:
        """Go on by a configuration that was read again."""
        self._intake.adjust(config.intake)
        if self._page:
            self._page.adjust(config.events.enabled, config.intake.max_pixels)

    def forget_sources(self) -> None:
        """There is another source: what was captured before is not shown any more."""
        if self._page:
            self._page.forget_sources()

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Answer what is open with `refusal`, and stop to serve; False when that took longer."""
        self._intake.close(refusal, detail)
        return self._server.close(timeout_s)
