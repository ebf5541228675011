"""The packets of a connection: limits, sizes, acknowledgements, and damaged ones."""

from __future__ import annotations

import socket

import pytest

from broker_connection import RawBroker, publish
from incv3d.transports.mqtt.dispatch import packet_bytes, properties_of
from incv3d.transports.mqtt.outbox import Outgoing
from waiting import until


@pytest.mark.parametrize(("told", "expected"), [(b"\x21\x00\x03", 3), (b"\x21\xff\xff", 20), (b"", 20)])
def test_no_more_is_on_the_way_than_the_broker_admits(start, told, expected) -> None:
    broker = RawBroker(told=told)
    recorder = start(broker.port)
    for number in range(30):
        recorder.send(str(number), b"payload")
    until(lambda: broker.heard.count(b"payload") == expected, "not as many leave")
    recorder.link.wake()
    recorder.send("image", b"picture", qos=0, is_latest=True)
    broker.hang_up()
    assert broker.heard.count(b"payload") == expected and recorder.link.status()["queued"] == 31


def test_a_broker_is_told_how_much_it_may_send(start) -> None:
    broker = RawBroker()
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    # Receive maximum 10, maximum packet size 100,000 (MQTT 5, 3.1.2.11).
    assert b"\x21\x00\x0a" in broker.greeting and b"\x27\x00\x01\x86\xa0" in broker.greeting
    broker.hang_up()


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (publish(b"\x63"), "a message cannot be read: property 99 is unknown"),
        (publish(b"\x08\x00\x09a"), "a message cannot be read: it ends too soon"),
        (publish(b"", b"fail"), "a message of a could not be handled"),
        (publish(b"", b"fail", b"a\xff\x1b"), "a message of a\ufffd? could not be handled"),
    ],
)
def test_a_bad_message_is_acknowledged_and_costs_a_line(start, caplog, packet, said) -> None:
    """Mosquitto lets none of these through; another broker may."""
    broker = RawBroker(packet, packet, publish(b"", b"good", number=9))
    recorder = start(broker.port)
    puback = b"\x40\x02\x00\x05"
    until(lambda: broker.heard.count(puback) == 2, "they are not acknowledged")
    while recorder.arrived.get(timeout=30).payload != b"good":
        pass
    assert caplog.text.count(said) == 1
    assert recorder.connections == 1
    broker.hang_up()


@pytest.mark.parametrize("size_bytes", [1, 90, 100, 110, 120, 16_300, 16_380, 2_097_140, 2_097_200])
@pytest.mark.parametrize("more", [{}, {"correlation": bytes(7)}, {"properties": {"daemon": "pi", "ä": "ö"}}])
def test_the_size_of_a_message_is_what_goes_over_the_wire(start, size_bytes, more) -> None:
    broker = RawBroker()
    recorder = start(broker.port)
    recorder.send("tö", bytes(size_bytes), **more)
    extras = properties_of(Outgoing("tö", b"", **more))
    expected = packet_bytes("tö", bytes(size_bytes), extras)
    until(lambda: len(broker.heard) >= expected, "not all of it arrives")
    broker.hang_up()
    assert len(broker.heard) == expected


def test_an_acknowledgement_of_an_earlier_connection_is_not_sent_on_the_next(start) -> None:
    """The broker has given its number to another message by then."""
    broker = RawBroker(publish(b""))
    recorder = start(broker.port)
    receipt = recorder.arrived.get(timeout=30).receipt
    broker.drop()
    until(lambda: recorder.connections == 2, "it does not come again")
    recorder.link.acknowledge(receipt)
    recorder.send("marker", b"payload")
    until(lambda: b"payload" in broker.heard, "the message does not arrive")
    assert b"\x40\x02\x00\x05" not in broker.heard
    broker.hang_up()


def test_packets_do_not_wait_for_others(broker, start) -> None:
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    connection = recorder.link._client.socket()
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
