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

MOST_ON_THE_WAY = 20
"""Messages that the broker has not acknowledged; the others wait in the outbox, where they are bounded."""
LARGEST_PACKET = 268_435_455
"""Bytes that follow a packet's length, as MQTT has it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a broker, which disconnects clients that exceed them."""

    packet_bytes: int = LARGEST_PACKET
    on_the_way: int = MOST_ON_THE_WAY


def limits_of(told: Properties | None) -> Limits:
    """Return the limits that the broker sent with its CONNACK (MQTT 5, 3.2.2.3)."""
    return Limits(
        packet_bytes=getattr(told, "MaximumPacketSize", LARGEST_PACKET),
        on_the_way=min(MOST_ON_THE_WAY, getattr(told, "ReceiveMaximum", MOST_ON_THE_WAY)),
    )


class Dispatch:
    """Sends what the outbox holds. Only the link's thread uses it.

    A broker may hang up on one message without saying on which. So those that were on the way when a
    connection broke are sent again one at a time; one that breaks a second connection is dropped.
    """

    def __init__(self, outbox: Outbox, complaints: Complaints) -> None:
        self._outbox = outbox
        self._complaints = complaints
        self._limits = Limits()
        self._on_the_way: dict[int, Outgoing] = {}
        self._again: deque[Outgoing] = deque()
        self._is_alone = False  # the one message on the way is sent for the second time
        self.published = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._outbox) + len(self._again) + len(self._on_the_way)

    def connected(self, limits: Limits) -> None:
        """Begin a new connection, with the limits of its broker."""
        self._limits = limits

    def send(self, client: Client) -> None:
        """Send as many messages as the broker and the connection take now."""
        # What the connection does not take, the library would keep without a limit.
        while client.socket() is not None and not client.want_write():
            if self._is_alone or len(self._on_the_way) >= self._limits.on_the_way:
                return
            is_repeat = bool(self._again)
            message = self._again.popleft() if is_repeat else self._outbox.take()
            if message is None:
                return
            self._publish(client, message)
            self._is_alone = is_repeat and bool(self._on_the_way)

    def acknowledged(self, number: int, reason: ReasonCode) -> None:
        """Settle a message that the broker has acknowledged or refused."""
        message = self._on_the_way.pop(number, None)
        if message is None:  # QoS 0: the library's own word that it has left
            return
        self._is_alone = False
        if reason.is_failure:
            self._refuse(message, f"the broker refuses it: {reason}")
            return
        self.published += 1
        message.settle()

    def interrupted(self) -> None:
        """Keep the unacknowledged messages of a connection that ended, to send them again."""
        for message in self._on_the_way.values():
            if self._is_alone:
                self._refuse(message, "the connection broke twice when it was sent")
            else:
                self._again.append(message)
        self._on_the_way.clear()
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
                self._refuse(message, f"{size_bytes} bytes are larger than the {limit} that the broker takes")
                return
            number = client.publish(message.topic, payload, message.qos, message.retain, extras).mid
        except (ValueError, struct.error) as error:
            self._refuse(message, str(error))
            return
        if message.qos:
            self._on_the_way[number] = message
        else:
            self.published += 1
            message.settle()

    def _refuse(self, message: Outgoing, why: str) -> None:
        self.refused += 1
        self._complaints.warn("not published", f"{shown(message.topic)}: not published: {why}")
        message.settle()


def packet_bytes(topic: str, payload: bytes, extras: Properties | None) -> int:
    """Return the size of a PUBLISH packet of QoS 1, everything counted."""
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
