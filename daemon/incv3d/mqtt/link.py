"""The connection to the broker, kept up by one thread that owns the library's client."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from incv3d.mqtt.broker import Broker, reason_of, send_at_once
from incv3d.mqtt.message import Message, Receipt, message_of
from incv3d.mqtt.outbox import Outbox, Outgoing

LOG = logging.getLogger(__name__)
KEEPALIVE_S = 30
"""A machine that vanished without a word is declared offline by the broker after 1.5 times this."""
CONNECTING_S = 10.0
"""How long the broker has to take the connection, and to let us in."""
TURN_S = 1.0
"""The client's own clockwork, which pings the broker, is looked at so often."""
MOST_ON_THE_WAY = 20
"""Messages that the broker has not acknowledged; the others wait in the outbox, where they are bounded."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Back-off: the first pause, doubled at each failure in a row up to the longest, with jitter."""
NO_RETAINED = 2
"""The retain handling of a subscription: what was published before it is not sent."""
LARGEST_PACKET = 268_435_455
"""Bytes, as MQTT has it."""


class Side(Protocol):
    """Who uses the link; called in its thread alone."""

    def connected(self) -> None:
        """The broker has let us in, and knows nothing of earlier subscriptions."""

    def receive(self, message: Message) -> None:
        """A message has arrived."""

    def turn(self) -> None:
        """Something may have happened: to be called often, cheap when nothing has."""


class Link:
    """Connects, again and again for ever, and moves messages. What is wrong is said once.

    :param client_id: two clients of the same one throw each other out.
    :param will: what the broker is to publish when the connection breaks.
    :param receive_maximum: frames that the broker may send before one is acknowledged.
    :param max_packet_bytes: a larger message is not sent to us.
    :param on_death: told the thread's name and the error when the thread cannot go on.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        will: Outgoing,
        outbox: Outbox,
        receive_maximum: int,
        max_packet_bytes: int,
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._outbox = outbox
        self._on_death = on_death
        self._limits = (receive_maximum, min(max_packet_bytes, LARGEST_PACKET))
        self._side: Side | None = None
        self._receipts: deque[Receipt] = deque()
        self._client = self._make_client(will)
        self._connections = 0
        self._let_in = False
        self._let_in_at = 0.0
        self._short_ones = 0  # connections in a row that did not last
        self._trouble = ""  # of this connection; empty: none that is known
        self._told: set[str] = set()  # troubles since it last worked
        self._since = time.monotonic()
        self._on_the_way: dict[int, Callable[[], None] | None] = {}
        self._largest_bytes: int | None = None
        self._published = self._refused = 0
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._guard, name="mqtt", daemon=True)

    @property
    def is_up(self) -> bool:
        """Whether the broker has let us in."""
        return self._let_in

    def start(self, side: Side) -> None:
        """Begin to connect, for `side`."""
        self._side = side
        self._thread.start()

    def publish(self, message: Outgoing) -> None:
        """Send `message` as soon as the broker takes it; callable from any thread."""
        self._outbox.put(message)
        self.wake()

    def wake(self) -> None:
        """Have :meth:`Side.turn` called; callable from any thread."""
        # A pipe full of earlier calls means that the thread is about to wake anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def subscribe(self, topic: str, qos: int) -> None:
        """Have messages sent; only in the link's thread."""
        self._client.subscribe(topic, options=SubscribeOptions(qos=qos, retainHandling=NO_RETAINED))

    def unsubscribe(self, topic: str) -> None:
        """Have no more messages sent; only in the link's thread."""
        self._client.unsubscribe(topic)

    def acknowledge(self, receipt: Receipt) -> None:
        """Tell the broker that a message is dealt with; callable from any thread."""
        self._receipts.append(receipt)
        self.wake()

    def status(self) -> dict[str, Any]:
        """For ``stats``."""
        return {
            "broker": self._broker.address,
            "connected": self._let_in,
            "trouble": self._trouble,
            "published": self._published,
            "refused": self._refused,
            "queued": len(self._outbox) + len(self._on_the_way),
            "dropped": self._outbox.dropped,
        }

    def close(self, timeout_s: float, farewell: Outgoing) -> bool:
        """Send what waits, and `farewell` at last; False when that was not done in time."""
        self._outbox.put(farewell)
        self._closing.set()
        self.wake()
        if self._thread.ident:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _make_client(self, will: Outgoing) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.connect_timeout = CONNECTING_S
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if self._broker.tls:
            client.tls_set_context(self._broker.tls)
        assert isinstance(will.payload, bytes)
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_socket_open = send_at_once
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _guard(self) -> None:
        try:
            self._keep_up()
        except BaseException as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
            self._on_death(self._thread.name, error)

    def _keep_up(self) -> None:
        failures = 0
        while not self._closing.is_set():
            began = time.monotonic()
            self._trouble = ""
            try:
                self._connect()
                self._serve()
            except OSError as error:
                self._trouble = reason_of(error)
                self._hang_up()
            except Exception as error:  # noqa: BLE001 - whatever a broker makes the library stumble over
                self._trouble = f"it sends what cannot be understood: {error!r}"
                self._hang_up()
            if self._closing.is_set():
                break
            self._say_trouble()
            lasted_s = time.monotonic() - began
            failures = 1 if lasted_s > LONGEST_PAUSE_S else failures + 1
            self._closing.wait(pause_s(failures))

    def _connect(self) -> None:
        receive_maximum, max_packet_bytes = self._limits
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.ReceiveMaximum = receive_maximum
        wishes.MaximumPacketSize = max_packet_bytes
        self._connections += 1
        self._client.connect(
            self._broker.host, self._broker.port, KEEPALIVE_S, clean_start=True, properties=wishes
        )

    def _serve(self) -> None:
        """Move messages until the connection ends, or the link is closed and everything is said."""
        assert self._side
        let_in_by = time.monotonic() + CONNECTING_S
        while self._client.socket() is not None:
            self._wait()
            if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if self._let_in:
                self._acknowledge()
                self._side.turn()
                self._send_outbox()
                if self._closing.is_set() and not (self._outbox or self._on_the_way):
                    self._client.disconnect()
            elif self._closing.is_set():
                self._hang_up()
            elif time.monotonic() > let_in_by:
                self._trouble = "it does not let us in; is it an MQTT broker?"
                self._hang_up()

    def _wait(self) -> None:
        socket = self._client.socket()
        assert socket is not None
        poller = select.poll()
        poller.register(self._wake_reader, select.POLLIN)
        poller.register(socket, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        # What TLS has decrypted already the kernel does not tell of.
        has_more = isinstance(socket, ssl.SSLSocket) and socket.pending() > 0
        ready = dict(poller.poll(0 if has_more else int(TURN_S * 1000)))
        if self._wake_reader in ready:
            os.read(self._wake_reader, 4096)
        events = ready.get(socket.fileno(), 0)
        if has_more or events & ~select.POLLOUT:
            self._client.loop_read()
        if self._client.socket() is not None and events & select.POLLOUT:
            self._client.loop_write()

    def _acknowledge(self) -> None:
        while self._receipts:
            receipt = self._receipts.popleft()
            if receipt.qos and receipt.connection == self._connections:
                self._client.ack(receipt.number, receipt.qos)

    def _send_outbox(self) -> None:
        while len(self._on_the_way) < MOST_ON_THE_WAY and (message := self._outbox.take()):
            payload = message.payload if isinstance(message.payload, bytes) else message.payload()
            if not payload:
                continue
            if self._largest_bytes is not None and len(payload) + len(message.topic) > self._largest_bytes:
                self._say_refused(
                    f"{message.topic}: larger than the {self._largest_bytes} bytes that it takes"
                )
                continue
            extras = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if message.correlation is not None:
                extras.CorrelationData = message.correlation
            if message.properties:
                extras.UserProperty = list(message.properties.items())
            number = self._client.publish(message.topic, payload, message.qos, message.retain, extras).mid
            if message.qos:
                self._on_the_way[number] = message.on_done
            else:
                self._published += 1

    def _hang_up(self) -> None:
        """Close the connection without a word, so that the broker publishes the will."""
        trouble, socket = self._trouble, self._client.socket()
        if socket is not None:
            socket.close()
            with contextlib.suppress(OSError, ValueError):
                self._client.loop_read()
        self._let_in = False
        self._trouble = trouble

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if reason.is_failure:
            self._trouble = f"it does not let us in: {reason} (mqtt.username, mqtt.password_file)"
            return
        self._let_in = True
        self._let_in_at = time.monotonic()
        self._largest_bytes = getattr(extras, "MaximumPacketSize", None)
        after = f" after {time.monotonic() - self._since:.0f} s" if self._told else ""
        LOG.info("mqtt: connected to %s as %s%s", self._broker.address, self._client_id, after)
        self._told.clear()
        assert self._side
        self._side.connected()

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if self._let_in:
            lasted_s = time.monotonic() - self._let_in_at
            self._short_ones = self._short_ones + 1 if lasted_s < LONGEST_PAUSE_S else 0
            self._since = time.monotonic()
        self._let_in = False
        if self._closing.is_set() or self._trouble:
            return
        said = (
            f"it hung up: {reason}" if flags.is_disconnect_packet_from_server else "the connection was lost"
        )
        # Not every broker says why: two clients of one name throw each other out for ever.
        again = f", again; is {self._client_id} there twice? (mqtt.name)" if self._short_ones > 1 else ""
        self._trouble = f"{said}{again}"

    def _on_message(self, client: Client, data: Any, arrived: MQTTMessage) -> None:
        message = message_of(arrived, self._connections)
        assert self._side
        try:
            self._side.receive(message)
        except Exception:
            # Whatever somebody sent must cost that message, not the daemon.
            LOG.exception("mqtt: a message of %s could not be handled", arrived.topic)
            self.acknowledge(message.receipt)

    def _on_publish(
        self, client: Client, data: Any, number: int, reason: ReasonCode, extras: Properties
    ) -> None:
        on_done = self._on_the_way.pop(number, None)
        if reason.is_failure:
            self._say_refused(f"it refuses a message: {reason}")
        else:
            self._published += 1
        if on_done:
            on_done()

    def _on_subscribe(
        self, client: Client, data: Any, number: int, reasons: list[ReasonCode], extras: Properties
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._say_once(f"it does not let us subscribe: {reason} (its access control)")

    def _say_refused(self, trouble: str) -> None:
        self._refused += 1
        self._say_once(trouble)

    def _say_trouble(self) -> None:
        # That a broker is away shows itself in more than one way.
        self._say_once(self._trouble, "away" if "let us in" not in self._trouble else self._trouble)

    def _say_once(self, trouble: str, kind: str = "") -> None:
        if (kind or trouble) not in self._told:
            self._told.add(kind or trouble)
            LOG.warning("mqtt: %s: %s; going on without it", self._broker.address, trouble)


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row, at least one."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
