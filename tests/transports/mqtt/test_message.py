"""PUBLISH packets: read as MQTT 5 has it, whatever their sender puts into them."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from incv3d.transports.mqtt.message import LARGEST_PROPERTIES, Receipt, UnreadableMessage, message_of

QOS_1 = 0x32


def block(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def variable(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def packet(properties: bytes = b"", payload: bytes = b"picture", topic: bytes = b"a/b") -> bytes:
    return block(topic) + b"\x00\x07" + variable(len(properties)) + properties + payload


def user(name: bytes, value: bytes) -> bytes:
    return b"\x26" + block(name) + block(value)


def test_a_message_has_everything_that_its_sender_said() -> None:
    properties = (
        b"\x01\x00"  # payload format
        + b"\x02\x00\x00\x01\x00"  # expiry
        + b"\x03" + block(b"image/jpeg")
        + b"\x08" + block(b"answers/me")
        + b"\x09" + block(b"\x00\xff")
        + b"\x0b\x80\x01"  # subscription
        + b"\x23\x00\x01"  # topic alias
        + user(b"id", b"1") + user(b"ttl_ms", "ä".encode())
    )  # fmt: skip
    found = message_of(QOS_1, packet(properties), 3)
    assert (found.topic, found.payload, found.receipt) == ("a/b", b"picture", Receipt(7, 1, 3))
    assert (found.response_topic, found.correlation, found.expiry_s) == ("answers/me", b"\x00\xff", 256)
    assert found.properties == {"id": "1", "ttl_ms": "ä"} and found.properties_bytes == len(properties)


def test_a_message_that_wants_no_acknowledgement_has_no_number() -> None:
    found = message_of(0x30, block(b"a") + b"\x00" + b"pause", 1)
    assert (found.payload, found.receipt) == (b"pause", Receipt(0, 0, 1))
    assert (found.response_topic, found.correlation, found.expiry_s) == ("", None, None)


def test_text_may_hold_a_byte_order_mark_and_what_is_no_text_is_marked() -> None:
    found = message_of(QOS_1, packet(user("\ufeffk".encode(), b"\xff") + b"\x08" + block(b"a\xff")), 1)
    assert found.properties == {"\ufeffk": "\ufffd"} and found.response_topic == "a\ufffd"
    assert message_of(QOS_1, packet(topic=b"a/\xff"), 1).topic == "a/\ufffd"


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        (b"\x63", "property 99 is unknown"),
        (b"\x02\x00", "it ends too soon"),
        (b"\x08\x00\x09a", "it ends too soon"),
        (user(b"a", b"b")[:-2], "it ends too soon"),
        (b"\x0b\xff\xff\xff\xff\x01", "a number has more than four bytes"),
    ],
)
def test_one_that_cannot_be_read_can_be_acknowledged(properties, words) -> None:
    with pytest.raises(UnreadableMessage) as caught:
        message_of(QOS_1, packet(properties), 3)
    assert words in str(caught.value) and caught.value.receipt == Receipt(7, 1, 3)


@pytest.mark.parametrize("packet", [b"", b"\x00", b"\x00\x03a/", b"\x00\x03a/b", b"\x00\x03a/b\x00"])
def test_one_without_a_whole_topic_and_number_cannot_even_be_acknowledged(packet: bytes) -> None:
    with pytest.raises(ValueError, match="it ends too soon"):
        message_of(QOS_1, packet, 1)


@pytest.mark.parametrize(("header", "qos"), [(0x30, 0), (0x3B, 1), (0x34, 2), (0x3D, 2)])
def test_the_quality_of_service_is_read_whatever_stands_beside_it(header: int, qos: int) -> None:
    number = b"\x01\x07" if qos else b""
    found = message_of(header, block(b"a") + number + b"\x00" + b"x", 9)
    assert (found.payload, found.receipt) == (b"x", Receipt(0x107 if qos else 0, qos, 9))


def test_numbers_of_one_to_four_bytes_are_read() -> None:
    for identifier in (b"\x01", b"\x80\x01", b"\xff\xff\x01", b"\xff\xff\xff\x7f"):
        assert message_of(QOS_1, packet(b"\x0b" + identifier + user(b"k", b"v")), 1).properties == {"k": "v"}
    for length in (0, 127, 128, 16_383, 16_384):
        properties = b"" if not length else user(b"k", b"v" * (length - 6))
        found = message_of(QOS_1, packet(properties), 1)
        assert found.properties_bytes == length and found.payload == b"picture"


def test_a_message_without_properties_has_none_that_anybody_said() -> None:
    found = message_of(QOS_1, packet(), 1)
    assert (found.properties, found.response_topic, found.properties_bytes) == ({}, "", 0)
    assert (found.correlation, found.expiry_s) == (None, None)
    assert message_of(QOS_1, packet(b"\x09" + block(b"")), 1).correlation == b""


def test_properties_are_read_up_to_64_kib() -> None:
    def read(filler: int) -> str:
        properties = user(b"k", b"v" * (filler - 6)) + b"\x08" + block(b"answers")
        return message_of(QOS_1, packet(properties), 1).response_topic

    assert read(65_535) == "answers"
    assert read(65_536) == ""


def test_properties_that_are_said_to_be_longer_than_the_packet_are_one_of_these() -> None:
    with pytest.raises(UnreadableMessage):
        message_of(QOS_1, block(b"a") + b"\x00\x07" + variable(200) + b"x", 1)


def test_a_flood_of_properties_is_not_read_to_its_end() -> None:
    properties = b"\x08" + block(b"answers/me") + user(b"k", b"v") * 1_000_000
    began = time.process_time()
    found = message_of(QOS_1, packet(properties, bytes(10_000_000)), 1)
    assert time.process_time() - began < 2
    assert found.properties_bytes == len(properties) > LARGEST_PROPERTIES
    assert found.response_topic == "answers/me" and len(found.payload) == 10_000_000


@given(st.binary(max_size=60), st.integers(0, 255))
def test_no_packet_raises_anything_else(data, header) -> None:
    try:
        found = message_of(header, data, 1)
    except (ValueError, UnreadableMessage):
        return
    assert len(found.topic) <= len(data)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=50)


@given(
    TEXT,
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_what_the_library_writes_is_read_as_it_was(topic, payload, correlation, words, expiry_s) -> None:
    sent = Properties(PacketTypes.PUBLISH)
    sent.ResponseTopic, sent.CorrelationData, sent.UserProperty = topic, correlation, words
    sent.MessageExpiryInterval = expiry_s
    found = message_of(QOS_1, block(topic.encode()) + b"\x01\x02" + sent.pack() + payload, 1)
    assert (found.topic, found.response_topic, found.payload) == (topic, topic, payload)
    assert (found.correlation, found.expiry_s, found.properties) == (correlation, expiry_s, dict(words))
    assert found.receipt.number == 0x102
