"""Puts together what there is of MQTT, as the daemon holds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from incv3d.config.schema import Config
from incv3d.frames import Frame, Refusal, Result
from incv3d.protocol import messages
from incv3d.protocol.events import EventMessage
from incv3d.transports.admission import Admission
from incv3d.transports.answers import Answers
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.errors import need_library
from incv3d.transports.mqtt.outbox import Outgoing

if TYPE_CHECKING:
    from incv3d.transports.mqtt.message import Message

STATE_EVERY_S = 10.0
"""How often the state is published while nothing changes it."""


class MqttTransport:
    """The connection to the broker and those who use it.

    What it needs is imported here only: a daemon without it saves the memory.

    :param environ: where the password may be.
    :param describe: answers ``stats``.
    :param identity: model and engine.
    :param admission: puts a frame in line, or says why not.
    :param answers: makes the JSON of answers.
    :param on_refused: told of every frame that never reached the pipeline.
    :param on_pause: told whether what the camera brings is to be passed over.
    :param on_death: told the thread's name and the error when the connection's thread cannot go on.
    :raises MqttError: the library is missing, or the configuration cannot be used.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        describe: Callable[[messages.Operation], dict[str, Any]],
        identity: Callable[[], tuple[str, str]],
        admission: Admission,
        answers: Answers,
        on_refused: Callable[[Refusal], None],
        on_pause: Callable[[bool], None],
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        need_library("mqtt.host")
        from incv3d.transports.mqtt.broker import broker_of
        from incv3d.transports.mqtt.connection import BrokerConnection
        from incv3d.transports.mqtt.message import LARGEST_PROPERTIES
        from incv3d.transports.mqtt.outbox import Outbox
        from incv3d.transports.mqtt.publisher import MqttPublisher
        from incv3d.transports.mqtt.requests import ROOM_TO_REFUSE, FrameConsumer
        from incv3d.transports.mqtt.topics import Topics, check_frames, own_name

        section, door = config.mqtt, config.intake
        self._config = config
        self._describe = describe
        self._identity = identity
        self._on_pause = on_pause
        self._complaints = Complaints()
        self._paused = False
        self._next_state = 0.0
        self._is_discovered = False
        self._topics = Topics(section.prefix, own_name(section.name))
        self._online, self._offline = (
            Outgoing(self._topics.availability, word, retain=True, is_latest=True)
            for word in (b"online", b"offline")
        )
        self._link = BrokerConnection(
            broker_of(section, environ),
            f"incv3d-{self._topics.name}",
            self._offline,
            Outbox(section.queue_limit),
            section.receive_maximum + ROOM_TO_REFUSE,
            # Up to this it is answered politely, as over ZeroMQ.
            2 * door.max_message_bytes + LARGEST_PROPERTIES,
            self._complaints,
            on_death,
        )
        self._publisher = MqttPublisher(
            self._topics,
            section.interval_s,
            section.threshold,
            section.image,
            door.max_pixels,
            self._link.publish,
            self._complaints,
        )

        self._frames: FrameConsumer | None = None
        if section.frames:
            check_frames(section.frames, self._topics)
            self._frames = FrameConsumer(
                self._link,
                section.frames,
                section.group,
                section.receive_maximum,
                self._topics.name,
                door,
                admission,
                answers,
                self._complaints,
                on_refused,
            )

    def start(self) -> None:
        """Begin to connect. A broker that is away is waited for, and nothing waits for it."""
        self._link.start(self)

    def ready(self) -> None:
        """The Session is warm: frames can come."""
        self._take_frames(not self._paused)
        self._tell_soon()

    def deliver(self, result: Result) -> None:
        """Publish `result`, and answer it if its frame came this way; callable from any thread."""
        if self._frames:
            self._frames.deliver(result)
        self._publisher.observe(result, *self._identity())

    def announce(self, announcement: EventMessage, frame: Frame | None = None) -> None:
        """Publish an event, as it is published over ZeroMQ; callable from any thread."""
        self._link.publish(
            Outgoing(self._topics.event(announcement.source), msgspec.json.encode(announcement))
        )

    def adjust(self, config: Config) -> None:
        """Go on by a configuration that was read again."""
        self._config = config
        if self._frames:
            self._frames.adjust(config.intake)
        self._is_discovered = False
        self._tell_soon()

    def paused(self, is_paused: bool) -> None:
        """What the camera brings is passed over, or not any more."""
        self._paused = is_paused
        self._take_frames(not is_paused)
        self._tell_soon()

    def stopping(self) -> None:
        """The daemon takes no more frames."""
        self._take_frames(False)

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Answer what is open with `refusal`, say goodbye; False when that was not done in time."""
        if self._frames:
            self._frames.close(refusal, detail)
        return self._link.close(timeout_s, self._offline)

    def status(self) -> dict[str, Any]:
        """For ``stats``."""
        frames = {"frames": self._frames.status()} if self._frames else {}
        return {**self._link.status(), **frames}

    def connected(self) -> None:
        """The broker has let us in; called by the link."""
        self._link.publish(self._online)
        self._link.subscribe(self._topics.command, qos=0)  # so that it does not wait behind frames
        self._is_discovered = False
        if self._frames:
            self._frames.connected()
        self._next_state = 0.0

    def receive(self, message: Message) -> None:
        """A message has arrived; called by the link."""
        from incv3d.transports.mqtt.commands import BadCommand, parse

        if message.topic != self._topics.command:
            assert self._frames
            self._frames.receive(message)
            return
        self._link.acknowledge(message.receipt)
        try:
            command = parse(message.payload)
        except BadCommand as error:
            self._complaints.warn("command", f"{self._topics.command}: {error}")
            return
        match command.word:
            case "pause" | "resume":
                self._on_pause(command.word == "pause")
            case "snapshot":
                self._publisher.take_snapshot()
            case "threshold":
                self._publisher.threshold = command.score
                self._next_state = 0.0

    def turn(self) -> None:
        """Something may have happened; called by the link."""
        if self._frames:
            self._frames.turn()
        discovery, (model, _) = self._config.mqtt.discovery, self._identity()
        if discovery and model and not self._is_discovered:
            self._is_discovered = True
            self._discover(discovery, model)
        now = time.monotonic()
        if now >= self._next_state:
            self._next_state = now + STATE_EVERY_S
            self._publisher.tell_state(self._describe("stats"), self._paused)

    def _take_frames(self, is_wanted: bool) -> None:
        if self._frames:
            self._frames.want(is_wanted)

    def _tell_soon(self) -> None:
        self._next_state = 0.0
        self._link.wake()

    def _discover(self, prefix: str, model: str) -> None:
        from incv3d.machine import read_machine
        from incv3d.transports.mqtt.discovery import Device, discovery_payload, discovery_topic

        source, machine = self._config.source, read_machine()
        cameras = [] if source.type == "none" else [source.name]
        parts = [f"{source.name}.{region}" for region in source.regions] if cameras else []
        device = Device(
            self._topics,
            model,
            parts or cameras,
            parts or cameras if self._config.events.enabled else [],
            cameras,
            machine.temp_c is not None,
            machine.throttled is not None,
        )
        payload = discovery_payload(device)
        topic = discovery_topic(prefix, self._topics)
        self._link.publish(Outgoing(topic, payload, retain=True, is_latest=True))
