"""The ZeroMQ transport."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from incv3d.config.loading import LoadedConfig
from incv3d.config.schema import Config
from incv3d.frames import Frame, Refusal, Result
from incv3d.protocol.curve_keys import KeyFileError
from incv3d.protocol.events import EventMessage
from incv3d.transports.base import Transport, TransportContext
from incv3d.transports.zeromq.access import insecure_warning, required_keys

LOG = logging.getLogger(__name__)


class ZmqTransport(Transport):
    """Requests over a ROUTER socket, results and events over a PUB socket."""

    name = "zeromq"
    key = "intake.bind"
    libraries: ClassVar[Mapping[str, str]] = {"zmq": "pyzmq"}

    def __init__(self, context: TransportContext) -> None:
        from incv3d.transports.zeromq.server import ZmqServer

        if warning := insecure_warning(context.config.intake):
            LOG.warning("%s", warning)
        queries = context.queries
        self._server = ZmqServer(
            context.config.intake,
            context.frame_queue,
            queries.describe,
            queries.identity,
            context.admission,
            context.on_rejected,
            context.on_death,
            required_keys(context.loaded, context.environ),
        )
        self.activities = (self._server.activity,)

    @classmethod
    def check(cls, loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
        """Check that the keys are there if they are needed."""
        try:
            required_keys(loaded, environ)
        except KeyFileError as error:
            raise type(error)(f"intake.keys: {error}") from None

    @classmethod
    def addresses(cls, config: Config) -> dict[str, str]:
        """Return the addresses for requests and for results."""
        publish = {"intake.publish": config.intake.publish} if config.intake.publish else {}
        return {"intake.bind": config.intake.bind, **publish}

    def open(self) -> None:
        """Bind both addresses."""
        self._server.open()

    def start(self) -> None:
        """Start to receive."""
        self._server.start()

    def reconfigure(self, config: Config) -> None:
        """Apply the new settings to requests."""
        self._server.reconfigure(config.intake)

    def reread_keys(self) -> None:
        """Read the clients' keys again."""
        self._server.reread_keys()

    def deliver(self, result: Result) -> bool:
        """Answer and publish `result`."""
        return self._server.deliver(result)

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Publish an event after the results that were delivered before it."""
        self._server.publish_event(event)

    def status(self) -> dict[str, Any]:
        """Return counts of requests, answers and peers."""
        return self._server.status()

    @property
    def undelivered(self) -> int:
        """Return the number of answers that could not be sent."""
        return self._server.undelivered

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Close the server."""
        return self._server.close(timeout_s, refusal, detail)
