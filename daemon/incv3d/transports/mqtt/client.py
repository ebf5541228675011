"""The library's client, for one connection."""

from __future__ import annotations

import math
import select
import ssl
from collections.abc import Callable

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from incv3d.transports.mqtt.broker import Broker, disable_nagle
from incv3d.transports.mqtt.outbox import Outgoing


class PacketClient(Client):
    """Paho's client, but `on_packet` reads PUBLISH packets (see :mod:`incv3d.transports.mqtt.message`).

    :param on_packet: called with the first byte of each packet, and with what follows its length.
    """

    def __init__(self, client_id: str, on_packet: Callable[[int, bytes | bytearray], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self._on_packet = on_packet

    def _handle_publish(self) -> MQTTErrorCode:
        self._on_packet(self._in_packet["command"], self._in_packet["packet"])
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def make_client(
    broker: Broker,
    client_id: str,
    will: Outgoing,
    timeout_s: float,
    on_packet: Callable[[int, bytes | bytearray], None],
) -> PacketClient:
    """Return a client with the credentials and the will for `broker`, not connected yet.

    Each connection needs a new one: otherwise the library would keep resending a message that makes the
    broker close the connection.
    """
    client = PacketClient(client_id, on_packet)
    client.connect_timeout = timeout_s
    if broker.username:
        client.username_pw_set(broker.username, broker.password or None)
    if broker.tls:
        client.tls_set_context(broker.tls)
    assert isinstance(will.payload, bytes)
    client.will_set(will.topic, will.payload, will.qos, will.retain)
    client.on_socket_open = disable_nagle
    return client


def move_bytes(client: Client, wake: int, timeout_s: float) -> bool:
    """Wait until the socket is ready, `wake` is readable or `timeout_s` has passed, and move bytes.

    The library's own loop waits with select(), which fails for descriptors from 1024 on, and only messages
    to send wake it.

    :param wake: a file descriptor.
    :returns: whether `wake` is readable.
    """
    socket = client.socket()
    assert socket is not None
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    poller.register(socket, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
    # The kernel does not know what TLS has decrypted already.
    has_more = isinstance(socket, ssl.SSLSocket) and socket.pending() > 0
    ready = dict(poller.poll(0 if has_more else math.ceil(timeout_s * 1000)))
    events = ready.get(socket.fileno(), 0)
    if has_more or events & ~select.POLLOUT:
        client.loop_read()
    if client.socket() is not None and events & select.POLLOUT:
        client.loop_write()
    return wake in ready
