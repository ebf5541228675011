"""What a connection reports, and a broker that the test controls packet by packet."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable

from incv3d.transports.mqtt.connection import BrokerConnection
from incv3d.transports.mqtt.message import Message
from incv3d.transports.mqtt.outbox import Outgoing
from waiting import until

WILL = Outgoing("gone", b"offline")


class Recorder:
    """What the link tells its user."""

    def __init__(self) -> None:
        self.link: BrokerConnection | None = None
        self.connections = 0
        self.arrived: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.settled: list[str] = []
        self.deaths: list[BaseException] = []

    def connected(self) -> None:
        self.connections += 1

    def receive(self, message: Message) -> None:
        self.arrived.put(message)
        if message.payload == b"fail":
            raise ZeroDivisionError("scripted")

    def poll(self) -> None:
        pass

    def send(self, topic: str, payload: bytes | Callable[[], bytes] = b"x", **more) -> None:
        assert self.link
        self.link.publish(Outgoing(topic, payload, on_done=lambda: self.settled.append(topic), **more))


def settled(recorder: Recorder, count: int) -> list[str]:
    until(lambda: len(recorder.settled) >= count, f"only {recorder.settled} are settled")
    return sorted(recorder.settled)


class RawBroker:
    """Lets one client in, sends it `packets`, and keeps what the client sends.

    :param told: the properties of its CONNACK.
    """

    def __init__(self, *packets: bytes, told: bytes = b"") -> None:
        self.heard = self.greeting = b""
        self._packets = packets
        self._told = told
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(30)
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._server, contextlib.suppress(OSError):
            while True:
                connection = self._server.accept()[0]
                with connection:
                    self.heard, self._connection = b"", connection
                    self.greeting = connection.recv(1000)
                    head = b"\x20%c\x00\x00%c" % (3 + len(self._told), len(self._told))
                    connection.sendall(head + self._told + b"".join(self._packets))
                    while data := connection.recv(100_000):
                        self.heard += data

    def drop(self) -> None:
        """End the connection; another may come."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """End the connection, and listen no more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self.drop()
        self._thread.join()


def publish(properties: bytes, payload: bytes = b"x", topic: bytes = b"a", number: int = 5) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!HB", number, len(properties)) + properties
    return b"\x32" + bytes([len(body) + len(payload)]) + body + payload
