"""The MQTT transport: results and state, commands, and frames that a fleet of daemons shares."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from incv3d.config.loading import LoadedConfig
from incv3d.config.schema import Config
from incv3d.frames import Frame, Refusal, Result
from incv3d.protocol.events import EventMessage
from incv3d.transports.base import Transport, TransportContext
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.outbox import Outbox, Outgoing

if TYPE_CHECKING:
    from incv3d.transports.mqtt.connection import BrokerConnection
    from incv3d.transports.mqtt.message import Message
    from incv3d.transports.mqtt.requests import FrameConsumer

STATE_INTERVAL_S = 10.0
"""How often the state is published while nothing changes it."""
LOOK_INTERVAL_S = 1.0
"""How often to look whether a camera, or the daemon, is no longer as it was."""


class MqttTransport(Transport):
    """The connection to the broker, and what is published and received over it.

    It handles the connection's messages, see :class:`incv3d.transports.mqtt.connection.ConnectionHandler`.
    """

    name = "mqtt"
    key = "mqtt.host"
    libraries: ClassVar[Mapping[str, str]] = {"paho": "paho-mqtt"}
    closing_s = 3.0

    def __init__(self, context: TransportContext) -> None:
        self.require_libraries()
        from incv3d.transports.mqtt.publisher import MqttPublisher
        from incv3d.transports.mqtt.topics import Topics, own_name

        self._config = config = context.config
        section = config.mqtt
        self._queries = context.queries
        self._identity = context.queries.identity
        self._on_pause = context.on_pause
        self._complaints = Complaints()
        self._paused = False
        self._next_state = self._next_look = 0.0
        self._seen: tuple[object, ...] = ()
        self._is_discovered = False
        self._topics = Topics(section.prefix, own_name(section.name))
        self._online, self._offline = (
            Outgoing(self._topics.availability, word, retain=True, is_latest=True)
            for word in (b"online", b"offline")
        )
        self._connection = self._create_connection(context)
        self._publisher = MqttPublisher(
            self._topics,
            section.interval_s,
            section.threshold,
            section.image,
            config.intake.max_pixels,
            self._connection.publish,
            self._complaints,
        )
        self._frames = self._create_consumer(context) if section.frames else None

    def _create_connection(self, context: TransportContext) -> BrokerConnection:
        from incv3d.transports.mqtt.broker import broker_of
        from incv3d.transports.mqtt.busy_answers import ROOM_TO_REFUSE
        from incv3d.transports.mqtt.connection import BrokerConnection
        from incv3d.transports.mqtt.message import LARGEST_PROPERTIES

        section = context.config.mqtt
        return BrokerConnection(
            broker_of(section, context.environ),
            f"incv3d-{self._topics.name}",
            self._offline,
            Outbox(section.queue_limit),
            section.receive_maximum + ROOM_TO_REFUSE,
            # Frames up to this size get an answer that says they are too large, as over ZeroMQ.
            2 * context.config.intake.max_message_bytes + LARGEST_PROPERTIES,
            self._complaints,
            context.on_death,
        )

    def _create_consumer(self, context: TransportContext) -> FrameConsumer:
        from incv3d.transports.mqtt.requests import FrameConsumer
        from incv3d.transports.mqtt.topics import check_frames

        section = context.config.mqtt
        check_frames(section.frames, self._topics)
        return FrameConsumer(
            self._connection,
            section.frames,
            section.group,
            section.receive_maximum,
            self._topics.name,
            context.config.intake,
            context.admission,
            self._identity,
            lambda: len(context.frame_queue),
            self._complaints,
            context.on_rejected,
        )

    @classmethod
    def check(cls, loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
        """Check the library, the files for the broker, and the topics of the frames."""
        cls.require_libraries()
        from incv3d.transports.mqtt.broker import broker_of
        from incv3d.transports.mqtt.topics import Topics, check_frames, own_name

        section = loaded.config.mqtt
        broker_of(section, environ)
        if section.frames:
            check_frames(section.frames, Topics(section.prefix, own_name(section.name)))

    def start(self) -> None:
        """Start to connect, and keep trying while the broker is away."""
        self._connection.start(self)

    def ready(self) -> None:
        """Subscribe to frames: the Session is warm."""
        self._take_frames(not self._paused)
        self._publish_state_soon()

    def deliver(self, result: Result) -> bool:
        """Publish `result`, and answer it if its frame came over MQTT."""
        if self._frames:
            self._frames.deliver(result)
        self._publisher.publish_result(result, *self._identity())
        return True

    def skipped(self, frame: Frame) -> None:
        """Publish the image of `frame`, if a snapshot is wanted."""
        self._publisher.offer(frame)

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Publish an event, as it is published over ZeroMQ."""
        self._connection.publish(Outgoing(self._topics.event(event.source), msgspec.json.encode(event)))

    def reconfigure(self, config: Config) -> None:
        """Apply a new configuration, and tell Home Assistant about its sources."""
        self._config = config
        if self._frames:
            self._frames.reconfigure(config.intake)
        self._is_discovered = False
        self._publish_state_soon()

    def paused(self, is_paused: bool) -> None:
        """Stop taking frames while the daemon is paused, and publish that."""
        self._paused = is_paused
        self._take_frames(not is_paused)
        self._publish_state_soon()

    def stopping(self) -> None:
        """Leave further frames to other daemons."""
        self._take_frames(False)

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Answer open requests with `refusal`, publish that the daemon is offline, and disconnect."""
        if self._frames:
            self._frames.close(refusal, detail)
        return self._connection.close(timeout_s, self._offline)

    def status(self) -> dict[str, Any]:
        """Return the state of the connection, and counts of messages and frames."""
        frames = {"frames": self._frames.status()} if self._frames else {}
        return {"mqtt": {**self._connection.status(), **frames}}

    def connected(self) -> None:
        """Publish that the daemon is online, and subscribe to commands. The connection calls this."""
        self._connection.publish(self._online)
        self._connection.subscribe(self._topics.command, qos=0)  # so that it does not wait behind frames
        self._is_discovered = False
        if self._frames:
            self._frames.connected()
        self._next_state = 0.0

    def receive(self, message: Message) -> None:
        """Handle a message. The connection calls this."""
        from incv3d.transports.mqtt.commands import BadCommand, parse

        if message.topic != self._topics.command:
            assert self._frames
            self._frames.receive(message)
            return
        self._connection.acknowledge(message.receipt)
        try:
            command = parse(message.payload)
        except BadCommand as error:
            self._complaints.warn("command", f"{self._topics.command}: {error}")
            return
        match command.word:
            case "pause" | "resume":
                self._on_pause(command.word == "pause")
            case "snapshot":
                self._publisher.take_snapshots(each.name for each in self._config.all_sources.values())
            case "threshold":
                self._publisher.threshold = command.score
                self._next_state = 0.0

    def poll(self) -> float | None:
        """Publish what is due. The connection calls this often.

        :returns: seconds until it wants to be called again; None: whenever something happens.
        """
        wait_s = self._frames.poll() if self._frames else None
        for frame in self._queries.discarded_frames() if self._paused else ():
            self._publisher.offer(frame)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL_S
            self._look()
        if now >= self._next_state:
            self._next_state = now + STATE_INTERVAL_S
            self._publisher.publish_state(self._queries.describe("stats"), self._paused)
        discovery, (model, _) = self._config.mqtt.discovery, self._identity()
        if discovery and model and not self._is_discovered:
            self._is_discovered = True
            self._publish_discovery(discovery, model)
        return wait_s

    def _look(self) -> None:
        """Publish the state soon if the daemon, or a camera, is no longer as it was."""
        status = self._queries.status()
        seen = (status.health, [(each.name, each.state, each.reason) for each in status.sources])
        if seen != self._seen:
            self._seen, self._next_state = seen, 0.0

    def _take_frames(self, is_wanted: bool) -> None:
        if self._frames:
            self._frames.set_subscribed(is_wanted)

    def _publish_state_soon(self) -> None:
        self._next_state = 0.0
        self._connection.wake()

    def _publish_discovery(self, prefix: str, model: str) -> None:
        from incv3d.machine import read_machine
        from incv3d.transports.mqtt.discovery import Device, discovery_payload, discovery_topic

        sources, machine = self._config.all_sources.values(), read_machine()
        names = [name for each in sources for name in each.result_names]
        device = Device(
            self._topics,
            model,
            names,
            self._config.watched_sources,
            [each.name for each in sources],
            machine.temp_c is not None,
            machine.throttled is not None,
        )
        payload = discovery_payload(device)
        topic = discovery_topic(prefix, self._topics)
        self._connection.publish(Outgoing(topic, payload, retain=True, is_latest=True))
