"""Send images to a fleet of daemons through a broker that distributes them.

Each image carries unique correlation data and the topic for its answer. It is sent again, with the same
correlation data, if the daemon that received it has no room (the broker then picks another one), if that
daemon stops, if there is no daemon (the broker acknowledges with ``No matching subscribers``), and if there
is no answer in time, because the daemon may have died. An answer may therefore arrive twice; the second is
counted and dropped.
"""

from __future__ import annotations

import math
import queue
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from incv3d.client.client import age_since
from incv3d.client.connection import ClientError, NoAnswer
from incv3d.clock import back_off_s
from incv3d.frames import Refusal, image_format
from incv3d.protocol import messages
from incv3d.tools.load.sender import InFlight, LoadImage, LoadSender, Plan, SendResult
from incv3d.transports.errors import SettingError
from incv3d.transports.mqtt.broker import PASSWORD, Broker, describe_error, disable_nagle, tls_context
from incv3d.transports.mqtt.dispatch import LARGEST_PACKET, limits_of, packet_bytes
from incv3d.transports.mqtt.requests import DAEMON, can_be_published_to

DEFAULT_TOPIC = "incv3d/frames/send"
ANSWER_TOPIC = "incv3d/answers"
NO_ROOM_MS = 10.0
LEAST_LONGEST_MS = 100.0
"""Delays after ``busy``: 10 ms, because another daemon may have room, then doubled up to 100 ms or half of
the daemon's ``retry_ms``; with jitter."""
NO_DAEMON_MS = 1000
"""``retry_ms`` while there is no daemon."""
NO_SUBSCRIBERS = 0x10
"""The reason code of MQTT 5 for a message without subscribers."""
LONGEST_WAIT_S = 0.5
"""The longest delay until Ctrl-C is noticed."""
KEEPALIVE_S = 30
MOST_IN_FLIGHT = 1000


@dataclass(frozen=True, slots=True)
class _Acknowledgement:
    """The broker has acknowledged or rejected an image."""

    number: int
    """The library's message number; negative: it was not sent."""
    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class _AnswerMessage:
    """A message on the answer topic."""

    data: bytes
    correlation: bytes | None
    by: str


class MqttLoadSender(LoadSender[InFlight]):
    """One connection to a broker, and the images in flight on it.

    :param url: ``mqtt://[USER@]HOST[:PORT][/TOPIC]``, or ``mqtts://`` for TLS.
    :param environ: may contain the password.
    :raises SettingError: if `url` is not valid.
    """

    def __init__(self, url: str, plan: Plan, environ: Mapping[str, str]) -> None:
        super().__init__(plan)
        self._broker, self._topic = parse_url(url, environ)
        self._token = secrets.token_bytes(8)
        self._answer_topic = f"{ANSWER_TOPIC}/{self._token.hex()}"
        self._events: queue.SimpleQueue[_Acknowledgement | _AnswerMessage] = queue.SimpleQueue()
        self._number_of: dict[int, int] = {}  # by the library's message number
        self._given_up: set[int] = set()  # numbers of images that were given up
        self._subscribed = threading.Event()
        self._error = ""
        self._largest_bytes = LARGEST_PACKET  # that the broker accepts
        self._client = self._make_client()

    def connect(self) -> None:
        """Wait until the broker has accepted the connection.

        :raises ClientError: if it does not.
        """
        broker = self._broker
        try:
            self._client.connect(broker.host, broker.port, KEEPALIVE_S)
        except OSError as error:
            raise ClientError(f"{broker.address}: cannot connect: {describe_error(error)}") from None
        self._client.loop_start()
        deadline = time.monotonic() + self._plan.timeout_s
        while not self._subscribed.wait(0.05) and not self._error and time.monotonic() < deadline:
            pass
        if self._error:
            raise ClientError(f"{broker.address}: {self._error}")
        if not self._subscribed.is_set():
            raise NoAnswer(
                f"no answer from {broker.address} within {self._plan.timeout_s:g} s; is it an MQTT broker?"
            )

    def close(self) -> None:
        """Close the connection and abandon what is in flight."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> MqttLoadSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"incv3d-send-{self._token.hex()}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        client.connect_timeout = self._plan.timeout_s
        client.max_inflight_messages_set(MOST_IN_FLIGHT)
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if self._broker.tls:
            client.tls_set_context(self._broker.tls)
        client.on_socket_open = disable_nagle
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _new_entry(self, number: int, slot: int, image: LoadImage, due: float) -> InFlight:
        return InFlight(image=image, due=due)

    def _transmit(self, number: int, entry: InFlight) -> bool:
        image = entry.image
        header: dict[str, Any] = {
            "id": number,
            "encoding": image.encoding or image_format(image.data) or "jpeg",
            "width": image.width,
            "height": image.height,
            "age_ms": age_since(entry.due),
            "ttl_ms": self._plan.ttl_ms,
        }
        extras = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        extras.ResponseTopic = self._answer_topic
        extras.CorrelationData = self._token + number.to_bytes(8, "big")
        extras.UserProperty = [(key, str(value)) for key, value in header.items() if value is not None]
        if packet_bytes(self._topic, image.data, extras) > self._largest_bytes:
            # The broker would close the connection, and the library would send it again forever.
            self._number_of[-number] = number
            self._events.put(
                _Acknowledgement(-number, ReasonCode(PacketTypes.DISCONNECT, "Packet too large"))
            )
            return True
        info = self._client.publish(self._topic, image.data, qos=1, properties=extras)
        self._number_of[info.mid] = number
        return True

    def _read(self, until: float) -> Iterator[SendResult]:
        left_s = max(0.0, min(until - time.monotonic(), LONGEST_WAIT_S))
        try:
            event = self._events.get(timeout=left_s) if left_s else self._events.get_nowait()
        except queue.Empty:
            return
        if isinstance(event, _AnswerMessage):
            yield from self._read_answer(event)
            return
        number = self._number_of.pop(event.number, None)
        entry = self._in_flight.get(number) if number is not None else None
        if (
            number is None
            or entry is None
            or not (event.reason.is_failure or event.reason.value == NO_SUBSCRIBERS)
        ):
            return
        code, detail = Refusal.BUSY, "no daemon is connected to the broker"
        if event.reason.is_failure:
            code, detail = Refusal.BAD_REQUEST, f"the broker rejected it: {event.reason}"
        answer = messages.Answer(
            v=messages.VERSION, id=number, status="error", code=code, detail=detail, retry_ms=NO_DAEMON_MS
        )
        yield from self._handle_fleet_answer(number, entry, answer)

    def _read_answer(self, event: _AnswerMessage) -> Iterator[SendResult]:
        token, number = (event.correlation or b"")[:8], int.from_bytes((event.correlation or b"")[8:], "big")
        if token != self._token:
            return  # not ours
        entry = self._in_flight.get(number)
        if entry is None:
            # A late answer does not count as a duplicate.
            self.duplicates += number not in self._given_up
            return
        try:
            answer = msgspec.json.decode(event.data, type=messages.Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientError(f"{event.by}: its answer has an unknown format: {error}") from None
        if answer.code is Refusal.SHUTTING_DOWN:
            yield from self._handle_timeout(number, entry)
        else:
            yield from self._handle_fleet_answer(number, entry, answer, event.by)

    def _handle_fleet_answer(
        self, number: int, entry: InFlight, answer: messages.Answer, by: str = ""
    ) -> Iterator[SendResult]:
        """Handle an answer; after ``busy``, retry sooner than advised: another daemon may have room."""
        if answer.code is Refusal.BUSY:
            longest_ms = max(LEAST_LONGEST_MS, (answer.retry_ms or 0) / 2)
            pause_ms = 1000 * back_off_s(entry.refused + 1, NO_ROOM_MS / 1000, longest_ms / 1000)
            answer.retry_ms = math.ceil(pause_ms)
            is_late = time.monotonic() + pause_ms / 1000 >= entry.deadline
            if is_late and entry.unanswered < self._plan.retries:
                # A try that meets only rejections counts like one without an answer.
                yield from self._handle_timeout(number, entry)
                return
        if result := self._handle_answer(number, answer, by):
            yield result

    def _finish(self, number: int, answer: messages.Answer | None, by: str = "") -> SendResult:
        if answer is None:
            self._given_up.add(number)
        return super()._finish(number, answer, by)

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if reason.is_failure:
            self._error = f"the broker rejected the connection: {reason} (check USER@ and ${PASSWORD})"
        else:
            self._largest_bytes = limits_of(extras).packet_bytes
            client.subscribe(self._answer_topic, qos=1)

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if not self._subscribed.is_set():
            self._error = self._error or "it closed the connection; is it an MQTT broker?"

    def _on_subscribe(
        self, client: Client, data: Any, number: int, reasons: list[ReasonCode], extras: Properties
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._error = f"the broker rejected the subscription to {self._answer_topic}: {reasons[0]}"
        else:
            self._subscribed.set()

    def _on_publish(
        self, client: Client, data: Any, number: int, reason: ReasonCode, extras: Properties
    ) -> None:
        self._events.put(_Acknowledgement(number, reason))

    def _on_message(self, client: Client, data: Any, arrived: MQTTMessage) -> None:
        found: dict[str, Any] = vars(arrived.properties) if arrived.properties else {}
        by = dict(found.get("UserProperty", ())).get(DAEMON, "")
        self._events.put(_AnswerMessage(bytes(arrived.payload), found.get("CorrelationData"), by))


def parse_url(url: str, environ: Mapping[str, str]) -> tuple[Broker, str]:
    """Return the broker and the topic for images.

    :raises SettingError: if the address is not valid, or its certificates cannot be loaded.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("mqtt", "mqtts") or not host or parts.query or parts.fragment:
        raise SettingError(
            f"--mqtt: `{url}` must look like mqtt://10.0.0.5 or mqtts://me@broker.lan:8883/my/frames"
        )
    if parts.password is not None:
        raise SettingError(f"--mqtt: set the password in ${PASSWORD}, where other users cannot see it")
    topic = unquote(parts.path.strip("/")) or DEFAULT_TOPIC
    if not can_be_published_to(topic):
        raise SettingError(f"--mqtt: cannot publish to the topic `{topic}`")
    is_tls = parts.scheme == "mqtts"
    tls = tls_context("", "--mqtt") if is_tls else None
    username = unquote(parts.username or "")
    return Broker(host, port or (8883 if is_tls else 1883), username, environ.get(PASSWORD, ""), tls), topic
