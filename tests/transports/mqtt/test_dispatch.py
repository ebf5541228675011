"""What is sent to a broker, and when each message is settled: the rules, on a connection that is scripted."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.dispatch import Dispatch, Limits, limits_of, packet_bytes, properties_of
from incv3d.transports.mqtt.outbox import Outbox, Outgoing

TAKEN = ReasonCode(PacketTypes.PUBACK, "Success")
REFUSED = ReasonCode(PacketTypes.PUBACK, "Not authorized")


class Connection:
    """What the dispatch sees of the library's client."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.numbers: dict[str, int] = {}
        self.is_up = True
        self.room = 1000
        """Messages that it takes before it has more than it can write."""

    def socket(self) -> object | None:
        return self if self.is_up else None

    def want_write(self) -> bool:
        return len(self.sent) >= self.room

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, extras: object) -> object:
        if "#" in topic:
            raise ValueError("no topic to publish to")
        self.sent.append(topic)
        self.numbers[topic] = len(self.numbers) + 1
        return SimpleNamespace(mid=self.numbers[topic])


class Desk:
    """A dispatch, its outbox and its connection."""

    def __init__(self, **limits: int) -> None:
        self.outbox = Outbox(100)
        self.dispatch = Dispatch(self.outbox, Complaints())
        self.settled: list[str] = []
        self.connect(**limits)

    def connect(self, **limits: int) -> None:
        self.connection = Connection()
        self.dispatch.connected(Limits(**limits))

    def put(self, *topics: str, payload: bytes | Callable[[], bytes] = b"x", **more: Any) -> None:
        for topic in topics:
            done = lambda topic=topic: self.settled.append(topic)  # noqa: E731
            self.outbox.put(Outgoing(topic, payload, on_done=done, **more))

    def send(self) -> list[str]:
        """The topics that have been sent on this connection."""
        self.dispatch.send(self.connection)  # type: ignore[arg-type]
        return self.connection.sent

    def acknowledge(self, *topics: str, reason: ReasonCode = TAKEN) -> None:
        for topic in topics:
            self.dispatch.acknowledged(self.connection.numbers[topic], reason)

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.dispatch.published, self.dispatch.refused, len(self.dispatch)


def test_a_message_is_settled_when_the_broker_has_it() -> None:
    desk = Desk()
    desk.put("a", "b")
    assert desk.counts == (0, 0, 2)
    assert desk.send() == ["a", "b"]
    assert desk.settled == [] and desk.counts == (0, 0, 2)
    desk.acknowledge("b")
    assert desk.settled == ["b"] and desk.counts == (1, 0, 1)
    desk.acknowledge("a")
    assert desk.settled == ["b", "a"] and desk.counts == (2, 0, 0)
    desk.acknowledge("a")
    assert desk.settled == ["b", "a"] and desk.counts == (2, 0, 0), "it counts once"


def test_a_message_that_wants_no_acknowledgement_is_settled_when_it_leaves() -> None:
    desk = Desk(in_flight=1)
    desk.put("a", "b", qos=0)
    assert desk.send() == ["a", "b"]
    assert desk.settled == ["a", "b"] and desk.counts == (2, 0, 0)
    desk.acknowledge("a")
    assert desk.counts == (2, 0, 0)


def test_a_message_that_the_broker_refuses_is_said_and_settled(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.put("a", "b")
    desk.send()
    desk.acknowledge("a", reason=REFUSED)
    assert desk.settled == ["a"] and desk.counts == (0, 1, 1)
    assert caplog.messages == ["mqtt: a: not published: the broker refuses it: Not authorized"]


def test_no_more_are_on_the_way_than_the_broker_takes() -> None:
    desk = Desk(in_flight=2)
    desk.put("a", "b", "c", "d")
    assert desk.send() == ["a", "b"]
    assert desk.send() == ["a", "b"]
    desk.acknowledge("a")
    assert desk.send() == ["a", "b", "c"]


def test_nothing_is_given_to_a_connection_that_is_down_or_full() -> None:
    desk = Desk()
    desk.put("a", "b", "c")
    desk.connection.is_up = False
    assert desk.send() == []
    desk.connection.is_up, desk.connection.room = True, 2
    assert desk.send() == ["a", "b"]
    assert desk.counts == (0, 0, 3)


def test_a_payload_is_made_when_it_leaves_and_an_empty_one_does_not_leave() -> None:
    desk = Desk(in_flight=1)
    desk.put("empty", payload=lambda: b"")
    desk.put("made", payload=lambda: b"x")
    assert desk.send() == ["made"]
    assert desk.settled == ["empty"] and desk.counts == (0, 0, 1)


def test_what_cannot_be_sent_is_said_and_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.put("bad/#", "good")
    desk.put("huge", properties={"k": "x" * 70_000})
    assert desk.send() == ["good"]
    assert desk.settled == ["bad/#", "huge"] and desk.counts == (0, 2, 1)
    assert caplog.messages == ["mqtt: bad/#: not published: no topic to publish to"]


@pytest.mark.parametrize("properties", [{}, {"id": "7"}])
def test_a_message_may_be_as_large_as_the_broker_takes(
    properties: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    size_bytes = packet_bytes(
        "topic", bytes(50), properties_of(Outgoing("topic", b"", properties=properties))
    )
    desk = Desk(packet_bytes=size_bytes)
    desk.put("topic", payload=bytes(50), properties=properties)
    assert desk.send() == ["topic"]
    desk.put("topic", payload=bytes(51), properties=properties)
    assert desk.send() == ["topic"] and desk.counts == (0, 1, 1)
    said = f"topic: not published: {size_bytes + 1} bytes exceed the {size_bytes} that the broker accepts"
    assert said in caplog.text


def test_after_a_connection_broke_its_messages_are_sent_one_by_one_and_then_the_others() -> None:
    desk = Desk()
    desk.put("a", "b")
    desk.send()
    desk.dispatch.interrupted()
    desk.put("c", "d")
    assert desk.settled == [] and desk.counts == (0, 0, 4)
    desk.connect()
    assert desk.send() == ["a"] == desk.send()
    desk.acknowledge("a")
    assert desk.send() == ["a", "b"] == desk.send()
    desk.acknowledge("b")
    assert desk.send() == ["a", "b", "c", "d"]
    desk.acknowledge("c", "d")
    assert desk.settled == ["a", "b", "c", "d"] and desk.counts == (4, 0, 0)


def test_a_message_that_breaks_a_second_connection_is_dropped_alone(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.put("a", "b", "c")
    desk.send()
    desk.dispatch.interrupted()
    desk.connect()
    desk.send()
    desk.acknowledge("a")
    desk.send()
    desk.dispatch.interrupted()
    assert desk.settled == ["a", "b"] and desk.counts == (1, 1, 1)
    assert caplog.messages == ["mqtt: b: not published: the connection broke twice when it was sent"]
    desk.connect()
    assert desk.send() == ["c"]
    desk.acknowledge("c")
    assert desk.settled == ["a", "b", "c"]


def test_a_message_is_not_blamed_for_a_connection_that_broke_before_it_was_sent_again() -> None:
    desk = Desk()
    desk.put("a", "b")
    desk.send()
    for _ in range(3):
        desk.dispatch.interrupted()
        desk.connect()
    assert desk.counts == (0, 0, 2)
    desk.send()
    desk.acknowledge("a")
    desk.dispatch.interrupted()  # `b` is not on the way
    desk.connect()
    assert desk.send() == ["b"] and desk.counts == (1, 0, 1)


def test_a_repeated_message_that_cannot_be_sent_does_not_keep_the_others_waiting() -> None:
    payloads = [b"x", b""]
    desk = Desk()
    desk.put("made", payload=lambda: payloads.pop(0))
    desk.send()
    desk.dispatch.interrupted()
    desk.connect()
    desk.put("a", "b")
    assert desk.send() == ["a", "b"] and desk.settled == ["made"]


def test_the_limits_are_those_that_the_broker_says_and_our_own() -> None:
    told = Properties(PacketTypes.CONNACK)
    assert limits_of(None) == limits_of(told) == Limits(268_435_455, 20)
    told.MaximumPacketSize, told.ReceiveMaximum = 1000, 5
    assert limits_of(told) == Limits(1000, 5)
    told.ReceiveMaximum = 21
    assert limits_of(told).in_flight == 20


@pytest.mark.parametrize("rest_bytes", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
@pytest.mark.parametrize("properties", [{}, {"id": "ä"}])
def test_the_size_of_a_packet_is_what_the_library_writes(rest_bytes: int, properties: dict[str, str]) -> None:
    """MQTT 5, 2.1.4: the length of the rest has one to four bytes, 7 bits each."""
    extras = properties_of(
        Outgoing("tä", b"", properties=properties, correlation=b"7" if properties else None)
    )
    properties_bytes = len(extras.pack()) if extras else 1
    payload = bytes(rest_bytes - 2 - len("tä".encode()) - 2 - properties_bytes)
    length_bytes = {127: 1, 128: 2, 16_383: 2, 16_384: 3, 2_097_151: 3, 2_097_152: 4}[rest_bytes]
    assert packet_bytes("tä", payload, extras) == 1 + length_bytes + rest_bytes


def test_a_message_has_the_properties_that_it_was_given_and_none_otherwise() -> None:
    def written(**more: Any) -> tuple[object, object] | None:
        extras = properties_of(Outgoing("t", b"x", **more))
        return extras and (getattr(extras, "CorrelationData", None), getattr(extras, "UserProperty", None))

    assert written() is None
    assert written(correlation=b"") == (b"", None)
    assert written(properties={"id": "7"}) == (None, [("id", "7")])
    assert written(correlation=b"1", properties={"a": "b", "c": "d"}) == (b"1", [("a", "b"), ("c", "d")])
