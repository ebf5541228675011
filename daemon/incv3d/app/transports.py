"""All ways in, as the daemon holds them: ZeroMQ always, HTTP and MQTT where they are configured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from incv3d.app.dispatcher import ResultDispatcher
from incv3d.config.schema import Config
from incv3d.frames import Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.protocol import messages
from incv3d.transports.admission import Admission
from incv3d.transports.answers import Answers
from incv3d.transports.daemon_status import DaemonStatus
from incv3d.transports.http import HttpTransport
from incv3d.transports.mqtt.transport import MqttTransport
from incv3d.transports.zeromq.key_store import KeyStore
from incv3d.transports.zeromq.server import ZmqServer

LOG = logging.getLogger(__name__)
HTTP_CLOSES_S = 2.0
"""How long the HTTP server has for answers that are under way."""
MQTT_CLOSES_S = 3.0
"""How long the broker has to take the last messages."""


@dataclass(frozen=True, slots=True)
class DaemonQueries:
    """What is asked of the daemon from outside; each is callable from any thread."""

    describe: Callable[[messages.Operation], dict[str, Any]]
    """Answers ``ping``, ``stats`` and ``info``."""
    identity: Callable[[], tuple[str, str]]
    """Model and engine; empty while the model is loaded."""
    stand: Callable[[], DaemonStatus]
    """How the daemon stands."""
    pace_ms: Callable[[], float | None]
    """How long it takes from one result to the next while frames wait, if that is known."""


class Doors:
    """Opens, adjusts and closes every way in, and has results delivered to each.

    :param environ: where the broker's password may be.
    :param keys: whose ZeroMQ clients alone are let in; None: whoever reaches the door is.
    :param probe: makes the encoded picture with which ``/readyz`` tries whether frames get through.
    :param on_sent: told of every result that has left.
    :param on_pause: told whether the source is to be passed over.
    :param on_death: told the thread's name and the error when a thread cannot go on.
    :raises HttpError: what HTTP needs is missing.
    :raises MqttError: what MQTT needs is missing, or the broker's password cannot be read.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        keys: KeyStore | None,
        frame_queue: FrameQueue,
        delivery: ResultDispatcher,
        questions: DaemonQueries,
        probe: Callable[[], bytes],
        on_sent: Callable[[Result], None],
        on_pause: Callable[[bool], None],
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        describe, identity = questions.describe, questions.identity
        admission = Admission(frame_queue, questions.pace_ms, delivery.deliver)
        answers = Answers(identity, lambda: len(frame_queue))
        self._on_sent = on_sent
        self.intake = ZmqServer(
            config.intake,
            frame_queue,
            describe,
            identity,
            admission,
            delivery.count,
            self._sent,
            on_death,
            keys,
        )
        delivery.add(self.intake)
        self._http: HttpTransport | None = None
        if config.http.bind:
            self._http = HttpTransport(
                config,
                frame_queue,
                questions.stand,
                probe,
                describe,
                answers,
                admission,
                delivery.count,
                on_death,
            )
            delivery.add(self._http)
            delivery.count_by(self._http.metrics)
        self._mqtt: MqttTransport | None = None
        if config.mqtt.host:
            self._mqtt = MqttTransport(
                config,
                environ,
                describe,
                identity,
                admission,
                answers,
                delivery.count,
                on_pause,
                on_death,
            )
            delivery.add(self._mqtt)

    def open(self) -> None:
        """Listen everywhere, and begin to receive; a broker that is away is waited for in the background.

        :raises IntakeError: when an address of ZeroMQ is in use or not this machine's.
        :raises KeyFileError: when the daemon's keys cannot be used.
        :raises HttpError: the same of HTTP, and of the token's file.
        """
        self.intake.open()
        if self._http:
            self._http.open()
        self.intake.start()
        if self._mqtt:
            self._mqtt.start()

    def ready(self) -> None:
        """The Session is warm: a broker's frames can come."""
        if self._mqtt:
            self._mqtt.ready()

    def adjust(self, config: Config) -> None:
        """Go on by a configuration that was read again; addresses are those of before."""
        self.intake.adjust(config.intake)
        if self._http:
            self._http.adjust(config)
        if self._mqtt:
            self._mqtt.adjust(config)

    def forget_sources(self) -> None:
        """There is another source: what was captured before is not shown any more."""
        if self._http:
            self._http.forget_sources()

    def paused(self, is_paused: bool) -> None:
        """What the camera brings is passed over, or not any more."""
        if self._mqtt:
            self._mqtt.paused(is_paused)

    def status(self) -> dict[str, Any]:
        """For ``stats``: how the broker is, if there is one."""
        return {"mqtt": self._mqtt.status()} if self._mqtt else {}

    def stopping(self) -> None:
        """Let a broker's frames go to other daemons."""
        if self._mqtt:
            self._mqtt.stopping()

    def close(self, deadline: float, refusal: Refusal, detail: str) -> None:
        """Send what is answered until the `deadline` (monotonic), answer the rest with `refusal`, close."""
        if not self.intake.close(max(1.0, deadline - time.monotonic()), refusal, detail):
            LOG.warning("the intake did not close in time")
        if self._mqtt and not self._mqtt.close(MQTT_CLOSES_S, refusal, detail):
            LOG.warning("mqtt: not everything could be sent to the broker in time")
        if self._http and not self._http.close(HTTP_CLOSES_S, refusal, detail):
            LOG.warning("the HTTP server did not close in time")

    def _sent(self, result: Result) -> None:
        self._on_sent(result)
        if self._http:
            self._http.complete(result)
