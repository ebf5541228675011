"""Sends pictures to the daemons of a fleet, over the broker that shares them out.

Each picture carries correlation data of its own and the topic where its answer is awaited. It is sent again,
with the same correlation data, when the daemon that got it has no room (the broker gives it to the next one),
when that stops, when there is no daemon at all (the broker says so when it acknowledges: ``No matching
subscribers``), and when there is no answer in time: whoever had it may have died. So an answer may come
twice; the second is counted and dropped.
"""

from __future__ import annotations

import math
import queue
import random
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
from incv3d.frames import Refusal, picture_format
from incv3d.protocol import messages
from incv3d.tools.load.sender import InFlight, LoadImage, LoadSender, Outcome, Plan
from incv3d.transports.mqtt.broker import PASSWORD, Broker, reason_of, send_at_once, tls_context
from incv3d.transports.mqtt.dispatch import LARGEST_PACKET, limits_of, packet_bytes
from incv3d.transports.mqtt.errors import MqttError
from incv3d.transports.mqtt.requests import DAEMON, can_be_published_to

DEFAULT_TOPIC = "incv3d/frames/send"
ANSWERS = "incv3d/answers"
NO_ROOM_MS = 10.0
LEAST_LONGEST_MS = 100.0
"""When there was no room: again after 10 ms, as others may have some, then ever less often, at last after 100
or half of the time that the daemon speaks of; with jitter."""
NOBODY_MS = 1000
"""When to look again, at last, while there is no daemon."""
NO_SUBSCRIBERS = 0x10
"""The reason code of MQTT 5 for a message that nobody gets."""
LONGEST_WAIT_S = 0.5
"""Ctrl-C is noticed after so long."""
KEEPALIVE_S = 30
MOST_ON_THE_WAY = 1000


@dataclass(frozen=True, slots=True)
class _Taken:
    """The broker has taken a picture, or has not: then nobody gets it."""

    number: int
    """The library's own; negative: it was not even sent."""
    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class _Answered:
    """A message on the topic of the answers."""

    data: bytes
    correlation: bytes | None
    by: str


class MqttLoadSender(LoadSender[InFlight]):
    """One connection to a broker, and what is under way over it.

    :param url: ``mqtt://[USER@]HOST[:PORT][/TOPIC]``, or ``mqtts://`` for TLS.
    :param environ: where the password may be.
    :raises MqttError: it is none.
    """

    def __init__(self, url: str, plan: Plan, environ: Mapping[str, str]) -> None:
        super().__init__(plan)
        self._broker, self._topic = parse_url(url, environ)
        self._token = secrets.token_bytes(8)
        self._answers = f"{ANSWERS}/{self._token.hex()}"
        self._events: queue.SimpleQueue[_Taken | _Answered] = queue.SimpleQueue()
        self._number_of: dict[int, int] = {}  # by the library's own
        self._given_up: set[int] = set()  # flights that were given up
        self._subscribed = threading.Event()
        self._trouble = ""
        self._largest_bytes = LARGEST_PACKET  # that the broker takes
        self._client = self._make_client()

    def connect(self) -> None:
        """Wait until the broker has let us in.

        :raises ClientError: it does not.
        """
        broker = self._broker
        try:
            self._client.connect(broker.host, broker.port, KEEPALIVE_S)
        except OSError as error:
            raise ClientError(f"{broker.address}: cannot connect: {reason_of(error)}") from None
        self._client.loop_start()
        deadline = time.monotonic() + self._plan.timeout_s
        while not self._subscribed.wait(0.05) and not self._trouble and time.monotonic() < deadline:
            pass
        if self._trouble:
            raise ClientError(f"{broker.address}: {self._trouble}")
        if not self._subscribed.is_set():
            raise NoAnswer(
                f"no answer from {broker.address} within {self._plan.timeout_s:g} s; is it a broker?"
            )

    def close(self) -> None:
        """Let go of the connection and of what is under way."""
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
        client.max_inflight_messages_set(MOST_ON_THE_WAY)
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if self._broker.tls:
            client.tls_set_context(self._broker.tls)
        client.on_socket_open = send_at_once
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _flight(self, number: int, slot: int, shot: LoadImage, due: float) -> InFlight:
        return InFlight(shot=shot, due=due)

    def _carry(self, number: int, flight: InFlight) -> bool:
        shot = flight.shot
        said: dict[str, Any] = {
            "id": number,
            "encoding": shot.encoding or picture_format(shot.data) or "jpeg",
            "width": shot.width,
            "height": shot.height,
            "age_ms": age_since(flight.due),
            "ttl_ms": self._plan.ttl_ms,
        }
        extras = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        extras.ResponseTopic = self._answers
        extras.CorrelationData = self._token + number.to_bytes(8, "big")
        extras.UserProperty = [(key, str(value)) for key, value in said.items() if value is not None]
        if packet_bytes(self._topic, shot.data, extras) > self._largest_bytes:
            # The broker would hang up, and the library would send it again and again.
            self._number_of[-number] = number
            self._events.put(_Taken(-number, ReasonCode(PacketTypes.DISCONNECT, "Packet too large")))
            return True
        info = self._client.publish(self._topic, shot.data, qos=1, properties=extras)
        self._number_of[info.mid] = number
        return True

    def _read(self, until: float) -> Iterator[Outcome]:
        left_s = max(0.0, min(until - time.monotonic(), LONGEST_WAIT_S))
        try:
            event = self._events.get(timeout=left_s) if left_s else self._events.get_nowait()
        except queue.Empty:
            return
        if isinstance(event, _Answered):
            yield from self._read_answer(event)
            return
        number = self._number_of.pop(event.number, None)
        flight = self._flights.get(number) if number is not None else None
        if (
            number is None
            or flight is None
            or not (event.reason.is_failure or event.reason.value == NO_SUBSCRIBERS)
        ):
            return
        code, detail = Refusal.BUSY, "no daemon takes frames"
        if event.reason.is_failure:
            code, detail = Refusal.BAD_REQUEST, f"the broker does not take it: {event.reason}"
        answer = messages.Answer(
            v=messages.VERSION, id=number, status="error", code=code, detail=detail, retry_ms=NOBODY_MS
        )
        yield from self._take_elsewhere(number, flight, answer)

    def _read_answer(self, event: _Answered) -> Iterator[Outcome]:
        token, number = (event.correlation or b"")[:8], int.from_bytes((event.correlation or b"")[8:], "big")
        if token != self._token:
            return  # not ours
        flight = self._flights.get(number)
        if flight is None:
            # One that came after its time counts as unanswered.
            self.duplicates += number not in self._given_up
            return
        try:
            answer = msgspec.json.decode(event.data, type=messages.Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientError(f"{event.by}: an answer of another wire format: {error}") from None
        if answer.code is Refusal.SHUTTING_DOWN:
            yield from self._unanswered(number, flight)
        else:
            yield from self._take_elsewhere(number, flight, answer, event.by)

    def _take_elsewhere(
        self, number: int, flight: InFlight, answer: messages.Answer, by: str = ""
    ) -> Iterator[Outcome]:
        """An answer; when it is ``busy``, its advice is for those who have one daemon only."""
        if answer.code is Refusal.BUSY:
            longest_ms = max(LEAST_LONGEST_MS, (answer.retry_ms or 0) / 2)
            pause_ms = min(longest_ms, NO_ROOM_MS * 2 ** min(flight.refused, 30)) * random.uniform(0.5, 1.0)
            answer.retry_ms = math.ceil(pause_ms)
            is_late = time.monotonic() + pause_ms / 1000 >= flight.deadline
            if is_late and flight.unanswered < self._plan.retries:
                # While daemons come and go, a try is used up by refusals as it is by silence.
                yield from self._unanswered(number, flight)
                return
        if outcome := self._take(number, answer, by):
            yield outcome

    def _land(self, number: int, answer: messages.Answer | None, by: str = "") -> Outcome:
        if answer is None:
            self._given_up.add(number)
        return super()._land(number, answer, by)

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if reason.is_failure:
            self._trouble = f"it does not let us in: {reason} (USER@, ${PASSWORD})"
        else:
            self._largest_bytes = limits_of(extras).packet_bytes
            client.subscribe(self._answers, qos=1)

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if not self._subscribed.is_set():
            self._trouble = self._trouble or "it hung up; is it an MQTT broker?"

    def _on_subscribe(
        self, client: Client, data: Any, number: int, reasons: list[ReasonCode], extras: Properties
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._trouble = f"it does not let us subscribe to {self._answers}: {reasons[0]}"
        else:
            self._subscribed.set()

    def _on_publish(
        self, client: Client, data: Any, number: int, reason: ReasonCode, extras: Properties
    ) -> None:
        self._events.put(_Taken(number, reason))

    def _on_message(self, client: Client, data: Any, arrived: MQTTMessage) -> None:
        found: dict[str, Any] = vars(arrived.properties) if arrived.properties else {}
        by = dict(found.get("UserProperty", ())).get(DAEMON, "")
        self._events.put(_Answered(bytes(arrived.payload), found.get("CorrelationData"), by))


def parse_url(url: str, environ: Mapping[str, str]) -> tuple[Broker, str]:
    """The broker, and the topic for pictures.

    :raises MqttError: it is no such address, or its certificates cannot be had.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("mqtt", "mqtts") or not host or parts.query or parts.fragment:
        raise MqttError(
            f"--mqtt: `{url}` is not like mqtt://10.0.0.5 or mqtts://me@broker.lan:8883/my/frames"
        )
    if parts.password is not None:
        raise MqttError(f"--mqtt: the password belongs into ${PASSWORD}, where others do not see it")
    topic = unquote(parts.path.strip("/")) or DEFAULT_TOPIC
    if not can_be_published_to(topic):
        raise MqttError(f"--mqtt: `{topic}` is no topic that can be published to")
    is_tls = parts.scheme == "mqtts"
    tls = tls_context("", "--mqtt") if is_tls else None
    username = unquote(parts.username or "")
    return Broker(host, port or (8883 if is_tls else 1883), username, environ.get(PASSWORD, ""), tls), topic
