"""A message as it arrives, without the library's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import MQTTMessage


@dataclass(frozen=True, slots=True)
class Receipt:
    """What to acknowledge, and on which connection: its number means nothing on the next one."""

    number: int
    qos: int
    connection: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message from the broker."""

    topic: str
    payload: bytes
    receipt: Receipt
    properties: Mapping[str, str]
    """MQTT's user properties."""
    response_topic: str
    """Where the answer is expected; empty: nowhere."""
    correlation: bytes | None
    """What the answer is to carry."""
    expiry_s: int | None
    """For how many seconds anybody wants an answer."""


def message_of(arrived: MQTTMessage, connection: int) -> Message:
    """A message as it arrived on the connection of this number."""
    found: dict[str, Any] = vars(arrived.properties) if arrived.properties else {}
    return Message(
        topic=arrived.topic,
        payload=bytes(arrived.payload),
        receipt=Receipt(arrived.mid, arrived.qos, connection),
        properties=dict(found.get("UserProperty", ())),
        response_topic=found.get("ResponseTopic", ""),
        correlation=found.get("CorrelationData"),
        expiry_s=found.get("MessageExpiryInterval"),
    )
