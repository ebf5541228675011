"""Broker connection with automatic reconnect, kept by one thread that owns the library's client."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from incv3d.clock import back_off_s
from incv3d.threads import OnDeath, WakePipe, start_thread
from incv3d.transports.mqtt.broker import Broker, describe_error
from incv3d.transports.mqtt.client import make_client, move_bytes
from incv3d.transports.mqtt.complaints import Complaints, shown
from incv3d.transports.mqtt.dispatch import LARGEST_PACKET, Dispatch, limits_of
from incv3d.transports.mqtt.message import Message, Receipt, UnreadableMessage, message_of
from incv3d.transports.mqtt.outbox import Outbox, Outgoing

LOG = logging.getLogger(__name__)
KEEPALIVE_S = 30
"""The broker declares a machine offline that is silent for 1.5 times this."""
CONNECTING_S = 10.0
"""The timeout for the connection, and for the broker to accept it."""
POLL_INTERVAL_S = 1.0
"""How often to call the client's own timers, which ping the broker."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""The first and the longest delay before another connection."""
NO_RETAINED = 2
"""The retain handling of a subscription: earlier messages are not sent."""
WRONG_PASSWORD = (0x86, 0x87)
"""The reason codes for an unknown user or a wrong password, and for no permission."""
TAKEN_OVER = 0x8E
"""The reason code for another client with the same name that has connected."""


class ConnectionHandler(Protocol):
    """What uses the connection; called in its thread only."""

    def connected(self) -> None:
        """Note that the broker has accepted a connection; it knows no earlier subscriptions."""

    def receive(self, message: Message) -> None:
        """Handle a message."""

    def poll(self) -> float | None:
        """Do what is due. It is called often, and must be cheap when nothing is due.

        :returns: seconds until it wants to be called again; None: whenever something happens.
        """


class BrokerConnection:
    """Connect, again and again, and move messages. Each problem is logged once.

    :param client_id: must be unique: a broker disconnects the earlier one of two clients with the same id.
    :param will: what the broker publishes when the connection breaks.
    :param receive_maximum: frames that the broker may send before one is acknowledged.
    :param max_packet_bytes: the broker sends no larger message.
    :param complaints: logs messages that cannot be read, handled or sent.
    :param on_death: called with the thread's name and the error when the thread dies.
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
        on_death: OnDeath,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._outbox = outbox
        self._on_death = on_death
        self._limits = (receive_maximum, min(max_packet_bytes, LARGEST_PACKET))
        self._handler: ConnectionHandler | None = None
        self._receipts: deque[Receipt] = deque()
        self._will = will
        self._client = self._make_client()
        self._connections = 0
        self._accepted = False
        self._accepted_at = 0.0
        self._short_ones = 0  # connections in a row, before this one, that did not last
        self._problem = ""  # of this connection; empty: none is known
        self._logged: set[str] = set()  # the problems since the last connection that worked
        self._since = time.monotonic()
        self._complaints = complaints
        self._dispatch = Dispatch(outbox, complaints)
        self._closing = threading.Event()
        self._wake = WakePipe()
        self._thread: threading.Thread | None = None

    def start(self, handler: ConnectionHandler) -> None:
        """Start to connect, for `handler`."""
        self._handler = handler
        self._thread = start_thread("mqtt", self._keep_connected, self._on_death)

    def publish(self, message: Outgoing) -> None:
        """Send `message` as soon as the broker accepts it. Any thread may call this."""
        self._outbox.put(message)
        self.wake()

    def wake(self) -> None:
        """Let :meth:`ConnectionHandler.poll` be called. Any thread may call this."""
        self._wake.wake()

    def subscribe(self, topic: str, qos: int) -> None:
        """Subscribe to a topic; only in the connection's thread."""
        self._client.subscribe(topic, options=SubscribeOptions(qos=qos, retainHandling=NO_RETAINED))

    def unsubscribe(self, topic: str) -> None:
        """Unsubscribe from a topic; only in the connection's thread."""
        self._client.unsubscribe(topic)

    def acknowledge(self, receipt: Receipt) -> None:
        """Tell the broker that a message was handled. Any thread may call this."""
        self._receipts.append(receipt)
        self.wake()

    def status(self) -> dict[str, Any]:
        """Return the state of the connection, and counts of messages, for ``stats``."""
        return {
            "broker": self._broker.address,
            "connected": self._accepted,
            "trouble": self._problem,
            "published": self._dispatch.published,
            "refused": self._dispatch.refused,
            "queued": len(self._dispatch),
            "dropped": self._outbox.dropped,
        }

    def close(self, timeout_s: float, farewell: Outgoing) -> bool:
        """Send all queued messages and then `farewell`; return False if that took longer than `timeout_s`."""
        self._outbox.put(farewell)
        self._closing.set()
        self.wake()
        if self._thread is None:
            return True
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

    def _keep_connected(self) -> None:
        failures = 0
        while not self._closing.is_set():
            began = time.monotonic()
            self._problem = ""
            try:
                self._connect()
                self._serve()
            except OSError as error:
                self._problem = describe_error(error)
            except Exception as error:  # noqa: BLE001 - whatever the library raises for a broker's message
                self._problem = f"a message from it cannot be read: {shown(repr(error))}"
            self._disconnect()
            if self._closing.is_set():
                break
            self._log_problem()
            lasted_s = time.monotonic() - began
            failures = 1 if lasted_s > LONGEST_PAUSE_S else failures + 1
            self._closing.wait(back_off_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S))

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
        """Move messages until the connection ends, or is closed and all messages are sent."""
        assert self._handler
        accept_by = time.monotonic() + CONNECTING_S
        wait_s: float | None = None
        while self._client.socket() is not None:
            longest_s = POLL_INTERVAL_S if wait_s is None else min(wait_s, POLL_INTERVAL_S)
            if move_bytes(self._client, self._wake.fileno(), longest_s):
                self._wake.clear()
            if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if self._accepted:
                self._acknowledge()
                wait_s = self._handler.poll()
                self._dispatch.send(self._client)
                if self._closing.is_set() and not self._dispatch:
                    self._client.disconnect()
            elif self._closing.is_set():
                return
            elif time.monotonic() > accept_by:
                self._problem = "it does not accept the connection; is it an MQTT broker?"
                return

    def _acknowledge(self) -> None:
        while self._receipts:
            receipt = self._receipts.popleft()
            if receipt.qos and receipt.connection == self._connections:
                self._client.ack(receipt.number, receipt.qos)

    def _disconnect(self) -> None:
        """Close the connection without an MQTT DISCONNECT, so that the broker publishes the will."""
        if (socket := self._client.socket()) is not None:
            socket.close()
        if self._accepted:
            self._since = time.monotonic()
            was_short = self._since - self._accepted_at < LONGEST_PAUSE_S
            self._short_ones = self._short_ones + 1 if was_short else 0
        self._accepted = False
        self._dispatch.interrupted()

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if reason.is_failure:
            hint = " (mqtt.username, mqtt.password_file)" if reason.value in WRONG_PASSWORD else ""
            self._problem = f"it does not accept the connection: {reason}{hint}"
            return
        self._accepted = True
        self._accepted_at = time.monotonic()
        self._dispatch.connected(limits_of(extras))
        after = f" after {time.monotonic() - self._since:.0f} s" if self._logged else ""
        LOG.info("mqtt: connected to %s as %s%s", self._broker.address, self._client_id, after)
        self._logged.clear()
        assert self._handler
        self._handler.connected()

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, extras: Properties | None
    ) -> None:
        if self._closing.is_set() or self._problem:
            return
        # Not every broker says why: two clients with the same name disconnect each other forever.
        was_closed = flags.is_disconnect_packet_from_server
        self._problem = f"it closed the connection: {reason}" if was_closed else "the connection was lost"
        if self._short_ones and not (was_closed and reason.value != TAKEN_OVER):
            self._problem += f", again; does another daemon connect as {self._client_id}? (mqtt.name)"

    def _on_packet(self, header: int, packet: bytes | bytearray) -> None:
        assert self._handler
        try:
            message = message_of(header, packet, self._connections)
        except UnreadableMessage as error:
            self._complaints.warn("unreadable", f"a message cannot be read: {error}")
            self.acknowledge(error.receipt)
            return
        try:
            self._handler.receive(message)
        except Exception as error:  # noqa: BLE001 - whatever arrives must cost that message alone
            what = f"a message of {shown(message.topic)} could not be handled"
            self._complaints.warn("not handled", what, error)
            self.acknowledge(message.receipt)

    def _on_subscribe(
        self, client: Client, data: Any, number: int, reasons: list[ReasonCode], extras: Properties
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                problem = f"it does not accept a subscription: {reason} (its access control)"
                self._log_once(problem, problem)

    def _log_problem(self) -> None:
        # A broker that is away shows itself in several ways.
        self._log_once(self._problem, self._problem if "accept" in self._problem else "away")

    def _log_once(self, problem: str, kind: str) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            LOG.warning("mqtt: %s: %s; continuing without it", self._broker.address, problem)
