"""The connection to the broker, kept up by one thread that owns the library's client."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from incv3d.clock import back_off_s
from incv3d.transports.mqtt.broker import Broker, reason_of
from incv3d.transports.mqtt.client import make_client, move_bytes
from incv3d.transports.mqtt.complaints import Complaints, shown
from incv3d.transports.mqtt.dispatch import LARGEST_PACKET, Dispatch, limits_of
from incv3d.transports.mqtt.message import Message, Receipt, UnreadableMessage, message_of
from incv3d.transports.mqtt.outbox import Outbox, Outgoing

LOG = logging.getLogger(__name__)
KEEPALIVE_S = 30
"""A machine that vanished without a word is declared offline by the broker after 1.5 times this."""
CONNECTING_S = 10.0
"""How long the broker has to take the connection, and to let us in."""
TURN_S = 1.0
"""The client's own clockwork, which pings the broker, is looked at so often."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Back-off: the first pause, doubled at each failure in a row up to the longest, with jitter."""
NO_RETAINED = 2
"""The retain handling of a subscription: what was published before it is not sent."""
WRONG_PASSWORD = (0x86, 0x87)
"""The reason codes of a broker that does not know us, or does not admit us."""
TAKEN_OVER = 0x8E
"""The reason code of a broker that another client of our name has connected to."""


class ConnectionHandler(Protocol):
    """Who uses the link; called in its thread alone."""

    def connected(self) -> None:
        """The broker has let us in, and knows nothing of earlier subscriptions."""

    def receive(self, message: Message) -> None:
        """A message has arrived."""

    def turn(self) -> None:
        """Something may have happened: to be called often, cheap when nothing has."""


class BrokerConnection:
    """Connects, again and again for ever, and moves messages. What is wrong is said once.

    :param client_id: two clients of the same one throw each other out.
    :param will: what the broker is to publish when the connection breaks.
    :param receive_maximum: frames that the broker may send before one is acknowledged.
    :param max_packet_bytes: a larger message is not sent to us.
    :param complaints: hears of messages that cannot be read, handled or sent.
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
        complaints: Complaints,
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._outbox = outbox
        self._on_death = on_death
        self._limits = (receive_maximum, min(max_packet_bytes, LARGEST_PACKET))
        self._side: ConnectionHandler | None = None
        self._receipts: deque[Receipt] = deque()
        self._will = will
        self._client = self._make_client()
        self._connections = 0
        self._let_in = False
        self._let_in_at = 0.0
        self._short_ones = 0  # connections in a row that did not last, before this one
        self._trouble = ""  # of this connection; empty: none that is known
        self._told: set[str] = set()  # troubles since it last worked
        self._since = time.monotonic()
        self._complaints = complaints
        self._dispatch = Dispatch(outbox, complaints)
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._guard, name="mqtt", daemon=True)

    def start(self, side: ConnectionHandler) -> None:
        """Begin to connect, for `side`."""
        self._side = side
        self._thread.start()

    def publish(self, message: Outgoing) -> None:
        """Send `message` as soon as the broker takes it; callable from any thread."""
        self._outbox.put(message)
        self.wake()

    def wake(self) -> None:
        """Have :meth:`ConnectionHandler.turn` called; callable from any thread."""
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
            "published": self._dispatch.published,
            "refused": self._dispatch.refused,
            "queued": len(self._dispatch),
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

    def _make_client(self) -> Client:
        client = make_client(self._broker, self._client_id, self._will, CONNECTING_S, self._on_packet)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = lambda client, data, number, reason, extras: self._dispatch.acknowledged(
            number, reason
        )
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
            except Exception as error:  # noqa: BLE001 - whatever a broker makes the library stumble over
                self._trouble = f"it sends what cannot be understood: {shown(repr(error))}"
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
        self._client = self._make_client()
        self._client.connect(
            self._broker.host, self._broker.port, KEEPALIVE_S, clean_start=True, properties=wishes
        )

    def _serve(self) -> None:
        """Move messages until the connection ends, or the link is closed and everything is said."""
        assert self._side
        let_in_by = time.monotonic() + CONNECTING_S
        while self._client.socket() is not None:
            if move_bytes(self._client, self._wake_reader, TURN_S):
                os.read(self._wake_reader, 4096)
            if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if self._let_in:
                self._acknowledge()
                self._side.turn()
                self._dispatch.send(self._client)
                if self._closing.is_set() and not self._dispatch:
                    self._client.disconnect()
            elif self._closing.is_set():
                return
            elif time.monotonic() > let_in_by:
                self._trouble = "it does not let us in; is it an MQTT broker?"
                return

    def _acknowledge(self) -> None:
        while self._receipts:
            receipt = self._receipts.popleft()
            if receipt.qos and receipt.connection == self._connections:
                self._client.ack(receipt.number, receipt.qos)

    def _hang_up(self) -> None:
        """Close the connection, if it is not, without a word, so that the broker publishes the will."""
        if (socket := self._client.socket()) is not None:
            socket.close()
        if self._let_in:
            self._since = time.monotonic()
            self._short_ones = self._short_ones + 1 if self._since - self._let_in_at < LONGEST_PAUSE_S else 0
        self._let_in = False
        self._dispatch.interrupted()

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if reason.is_failure:
            hint = " (mqtt.username, mqtt.password_file)" if reason.value in WRONG_PASSWORD else ""
            self._trouble = f"it does not let us in: {reason}{hint}"
            return
        self._let_in = True
        self._let_in_at = time.monotonic()
        self._dispatch.connected(limits_of(extras))
        after = f" after {time.monotonic() - self._since:.0f} s" if self._told else ""
        LOG.info("mqtt: connected to %s as %s%s", self._broker.address, self._client_id, after)
        self._told.clear()
        assert self._side
        self._side.connected()

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if self._closing.is_set() or self._trouble:
            return
        # Not every broker says why: two clients of one name throw each other out for ever.
        is_told_why = flags.is_disconnect_packet_from_server and reason.value != TAKEN_OVER
        is_twice = self._short_ones and not is_told_why
        self._trouble = (
            f"it hung up: {reason}" if flags.is_disconnect_packet_from_server else "the connection was lost"
        ) + (f", again; is {self._client_id} there twice? (mqtt.name)" if is_twice else "")

    def _on_packet(self, header: int, packet: bytes | bytearray) -> None:
        assert self._side
        try:
            message = message_of(header, packet, self._connections)
        except UnreadableMessage as error:
            self._complaints.warn("unreadable", f"a message cannot be read: {error}")
            self.acknowledge(error.receipt)
            return
        try:
            self._side.receive(message)
        except Exception as error:  # noqa: BLE001 - whatever somebody sent must cost that message alone
            what = f"a message of {shown(message.topic)} could not be handled"
            self._complaints.warn("not handled", what, error)
            self.acknowledge(message.receipt)

    def _on_subscribe(
        self, client: Client, data: Any, number: int, reasons: list[ReasonCode], extras: Properties
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._say_once(f"it does not let us subscribe: {reason} (its access control)")

    def _say_trouble(self) -> None:
        # That a broker is away shows itself in more than one way.
        self._say_once(self._trouble, "away" if "let us in" not in self._trouble else self._trouble)

    def _say_once(self, trouble: str, kind: str = "") -> None:
        if (kind or trouble) not in self._told:
            self._told.add(kind or trouble)
            LOG.warning("mqtt: %s: %s; going on without it", self._broker.address, trouble)


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row, at least one."""
    return back_off_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
