"""Received messages, read from their packets without the library's types.

Paho's own reader copies the whole packet, with its image, several times for each property: a frame with
twenty thousand of them stops the daemon for minutes. It also closes the connection at U+FEFF, which MQTT
allows in text (MQTT 5, 1.5.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_PROPERTIES = 64 * 1024
"""Bytes of a message's properties; later ones are not read."""
EXPIRY, RESPONSE_TOPIC, CORRELATION, USER_PROPERTY = 2, 8, 9, 38
NUMBERS = {1: 1, EXPIRY: 4, 35: 2}
"""Sizes in bytes of the properties that are numbers (MQTT 5, 3.3.2.3)."""
CONTENT_TYPE, SUBSCRIPTION = 3, 11


class UnreadableMessage(Exception):
    """The packet is not a valid PUBLISH packet."""

    def __init__(self, detail: str, receipt: Receipt) -> None:
        super().__init__(detail)
        self.receipt = receipt


@dataclass(frozen=True, slots=True)
class Receipt:
    """What to acknowledge, and on which connection: the number is invalid on the next one."""

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
    """Where the sender expects the answer; empty: nowhere."""
    correlation: bytes | None
    """MQTT's correlation data, which the answer must carry."""
    expiry_s: int | None
    """How long the sender waits for an answer; None: there is no limit."""
    properties_bytes: int = 0
    """Size of all of MQTT's properties."""


def message_of(header: int, packet: bytes | bytearray, connection: int) -> Message:
    """Read a PUBLISH packet (MQTT 5, 3.3).

    Bytes that are not UTF-8 become U+FFFD.

    :param header: the first byte of the packet.
    :param packet: the bytes after its length.
    :param connection: the number of the connection it arrived on.
    :raises ValueError: its topic or number is incomplete, so that it cannot even be acknowledged.
    :raises UnreadableMessage: its properties cannot be read.
    """
    reader = _Reader(memoryview(packet))
    topic = reader.text()
    qos = header >> 1 & 3
    receipt = Receipt(reader.number(2) if qos else 0, qos, connection)
    try:
        properties_bytes = reader.variable()
        properties = _Reader(reader.take(properties_bytes))
        words: dict[str, str] = {}
        texts: dict[int, str] = {}
        numbers: dict[int, int] = {}
        correlation: bytes | None = None
        while properties.left and properties.position < LARGEST_PROPERTIES:
            kind = properties.variable()
            if kind == USER_PROPERTY:
                name = properties.text()
                words[name] = properties.text()
            elif kind == CORRELATION:
                correlation = bytes(properties.take(properties.number(2)))
            elif kind in (CONTENT_TYPE, RESPONSE_TOPIC):
                texts[kind] = properties.text()
            elif kind in NUMBERS:
                numbers[kind] = properties.number(NUMBERS[kind])
            elif kind == SUBSCRIPTION:
                properties.variable()
            else:
                raise ValueError(f"property {kind} is unknown")
    except ValueError as error:
        raise UnreadableMessage(str(error), receipt) from None
    return Message(
        topic=topic,
        payload=bytes(reader.take(reader.left)),
        receipt=receipt,
        properties=words,
        response_topic=texts.get(RESPONSE_TOPIC, ""),
        correlation=correlation,
        expiry_s=numbers.get(EXPIRY),
        properties_bytes=properties_bytes,
    )


class _Reader:
    """Read MQTT's data types (MQTT 5, 1.5); raise ValueError if the data ends too soon."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.position

    def take(self, size_bytes: int) -> memoryview:
        if size_bytes > self.left:
            raise ValueError("it ends too soon")
        self.position += size_bytes
        return self._data[self.position - size_bytes : self.position]

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "big")

    def variable(self) -> int:
        """Read a variable byte integer: 7 bits a byte, the lowest first, at most four bytes."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number has more than four bytes")

    def text(self) -> str:
        return str(self.take(self.number(2)), "utf-8", "replace")
