"""The HTTP transport: web UI, images to classify, health and metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from incv3d.config.loading import LoadedConfig
from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from incv3d.frames import Frame, Refusal, Result
from incv3d.history.database import FILE
from incv3d.protocol.events import EventMessage
from incv3d.transports.base import Transport, TransportContext

if TYPE_CHECKING:
    from incv3d.transports.http.webui.routes import WebUi

LOG = logging.getLogger(__name__)
THREAD = "http"


class HttpTransport(Transport):
    """An HTTP server in its own thread, and what it serves."""

    name = "http"
    key = "http.bind"
    libraries: ClassVar[Mapping[str, str]] = {"aiohttp": "aiohttp", "prometheus_client": "prometheus-client"}
    closing_s = 2.0

    def __init__(self, context: TransportContext) -> None:
        self.require_libraries()
        from incv3d.transports.http.classify import ClassifyHandler
        from incv3d.transports.http.health import Readiness, health_routes
        from incv3d.transports.http.history import HistoryRoutes
        from incv3d.transports.http.login import FORM
        from incv3d.transports.http.metrics import Metrics, metrics_routes
        from incv3d.transports.http.server import HttpServer
        from incv3d.transports.http.streams import StreamRoutes

        config, queries = context.config, context.queries
        self.frame_counter = metrics = Metrics(queries.status)
        self._readiness = Readiness(context.probe)
        self._classify = ClassifyHandler(
            config.intake,
            context.admission,
            queries.identity,
            lambda: len(context.frame_queue),
            context.on_rejected,
        )
        self._history = HistoryRoutes(state_directory(context.environ) / FILE, config.saving.folder)
        self._shown = config.shown_results
        self._streams = StreamRoutes(lambda: self._shown, queries.source_states, config.intake.max_pixels)
        self._web_ui: WebUi | None = None
        routes = [
            *health_routes(queries.status, self._readiness),
            *metrics_routes(metrics),
            *self._classify.routes(),
            *self._history.routes(),
            *self._streams.routes(),
        ]
        if config.http.page:
            from incv3d.transports.http.webui.routes import WebUi

            self._web_ui = WebUi(
                config.watches_labels,
                config.intake.max_pixels,
                config.intake.max_message_bytes,
                context.create_teacher(),
                lambda: queries.describe("stats"),
                lambda error: context.on_death(THREAD, error),
            )
            routes += self._web_ui.routes()
        form = FORM if config.http.page else None
        self._server = HttpServer(config.http, routes, context.on_death, self._end, form)

    @classmethod
    def check(cls, loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
        """Check that the libraries are installed and the token can be read."""
        cls.require_libraries()
        if token_file := loaded.config.http.token_file:
            from incv3d.transports.http.auth import read_token

            read_token(Path(token_file))

    @classmethod
    def addresses(cls, config: Config) -> dict[str, str]:
        """Return the one address."""
        return {cls.key: f"tcp://{config.http.bind}"}

    def open(self) -> None:
        """Bind the address.

        :raises TransportError: the address cannot be used.
        :raises SettingError: the token's file cannot be used.
        """
        self._server.open()

    def start(self) -> None:
        """Start to serve."""
        self._server.start()
        LOG.info("%shealth and metrics at %s", "page, " if self._web_ui else "", self._server.url)

    def _end(self) -> None:
        """End all that would never end by itself; called in the event loop."""
        self._history.close()
        self._streams.close()
        if self._web_ui:
            self._web_ui.close()

    def deliver(self, result: Result) -> bool:
        """Answer `result`, if its frame came over HTTP, and show it."""
        self._classify.deliver(result)
        self._streams.show(result)
        if self._web_ui:
            self._web_ui.deliver(result)
        return True

    def skipped(self, frame: Frame) -> None:
        """Show a frame in which nothing changed to those who watch its source."""
        self._streams.show_unchanged(frame)

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Show an event."""
        if self._web_ui:
            self._web_ui.publish_event(event, frame)

    def complete(self, result: Result) -> None:
        """Note that frames get through, for ``/readyz``."""
        self._readiness.complete(result)

    def reconfigure(self, config: Config) -> None:
        """Apply a new configuration to what is served."""
        self._classify.reconfigure(config.intake)
        self._history.reconfigure(config.saving.folder)
        self._shown = config.shown_results
        self._streams.reconfigure(config.intake.max_pixels)
        if self._web_ui:
            self._web_ui.reconfigure(config.watches_labels, config.intake.max_pixels)

    def forget_sources(self) -> None:
        """Stop showing what earlier sources captured."""
        if self._web_ui:
            self._web_ui.forget_sources()

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Answer open requests with `refusal`, and close the server."""
        self._classify.close(refusal, detail)
        return self._server.close(timeout_s)
