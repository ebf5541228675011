"""Send messages to the broker within its limits, and settle each of them exactly once."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from incv3d.transports.mqtt.complaints import Complaints, shown
from incv3d.transports.mqtt.outbox import Outbox, Outgoing

MOST_IN_FLIGHT = 20
"""Messages that the broker has not acknowledged; others wait in the outbox, which is bounded."""
LARGEST_PACKET = 268_435_455
"""The most bytes after a packet's length (MQTT 5, 2.1.4)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a broker, which disconnects clients that exceed them."""

    packet_bytes: int = LARGEST_PACKET
    in_flight: int = MOST_IN_FLIGHT


def limits_of(told: Properties | None) -> Limits:
    """Return the limits that the broker sent with its CONNACK (MQTT 5, 3.2.2.3)."""
    return Limits(
        packet_bytes=getattr(told, "MaximumPacketSize", LARGEST_PACKET),
        in_flight=min(MOST_IN_FLIGHT, getattr(told, "ReceiveMaximum", MOST_IN_FLIGHT)),
    )


class Dispatch:
    """Send the messages of the outbox. Only the connection's thread uses it.

    A broker may close the connection because of one message without saying which. So messages in flight when
    a connection broke are sent again one at a time; one that breaks a second connection is dropped.
    """

    def __init__(self, outbox: Outbox, complaints: Complaints) -> None:
        self._outbox = outbox
        self._complaints = complaints
        self._limits = Limits()
        self._in_flight: dict[int, Outgoing] = {}
        self._again: deque[Outgoing] = deque()
        self._is_alone = False  # the one message in flight is sent for the second time
        self.published = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._outbox) + len(self._again) + len(self._in_flight)

    def connected(self, limits: Limits) -> None:
        """Start a new connection, with the limits of its broker."""
        self._limits = limits

    def send(self, client: Client) -> None:
        """Send as many messages as the broker and the connection accept now."""
        # The library would keep what the connection does not accept, without a limit.
        while client.socket() is not None and not client.want_write():
            if self._is_alone or len(self._in_flight) >= self._limits.in_flight:
                return
            is_repeat = bool(self._again)
            message = self._again.popleft() if is_repeat else self._outbox.take()
            if message is None:
                return
            self._publish(client, message)
            self._is_alone = is_repeat and bool(self._in_flight)

    def acknowledged(self, number: int, reason: ReasonCode) -> None:
        """Settle a message that the broker has acknowledged or refused."""
        message = self._in_flight.pop(number, None)
        if message is None:  # QoS 0: the library reports that it was sent
            return
        self._is_alone = False
        if reason.is_failure:
            self._refuse(message, f"the broker refuses it: {reason}")
            return
        self.published += 1
        message.settle()

    def interrupted(self) -> None:
        """Keep the unacknowledged messages of a connection that ended, to send them again."""
        for message in self._in_flight.values():
            if self._is_alone:
                self._refuse(message, "the connection broke twice when it was sent")
            else:
                self._again.append(message)
        self._in_flight.clear()
        self._is_alone = False

    def _publish(self, client: Client, message: Outgoing) -> None:
        try:
            payload = message.payload if isinstance(message.payload, bytes) else message.payload()
            if not payload:
                message.settle()
                return
            extras = properties_of(message)
            size_bytes = packet_bytes(message.topic, payload, extras)
            if size_bytes > self._limits.packet_bytes:
                limit = self._limits.packet_bytes
                self._refuse(message, f"{size_bytes} bytes exceed the {limit} that the broker accepts")
                return
            number = client.publish(message.topic, payload, message.qos, message.retain, extras).mid
        except (ValueError, struct.error) as error:
            self._refuse(message, str(error))
            return
        if message.qos:
            self._in_flight[number] = message
        else:
            self.published += 1
            message.settle()

    def _refuse(self, message: Outgoing, why: str) -> None:
        self.refused += 1
        self._complaints.warn("not published", f"{shown(message.topic)}: not published: {why}")
        message.settle()


def packet_bytes(topic: str, payload: bytes, extras: Properties | None) -> int:
    """Return the size of a PUBLISH packet of QoS 1, with all its parts."""
    properties_bytes = len(extras.pack()) if extras else 1  # type: ignore[no-untyped-call]
    rest_bytes = 2 + len(topic.encode()) + 2 + properties_bytes + len(payload)
    length_bytes = 1 + (rest_bytes > 127) + (rest_bytes > 16_383) + (rest_bytes > 2_097_151)
    return 1 + length_bytes + rest_bytes


def properties_of(message: Outgoing) -> Properties | None:
    """Return MQTT's properties of `message`; None: it has none."""
    if message.correlation is None and not message.properties:
        return None
    extras = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.correlation is not None:
        extras.CorrelationData = message.correlation
    if message.properties:
        extras.UserProperty = list(message.properties.items())
    return extras
