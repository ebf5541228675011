"""One DEALER socket to a daemon's door, and what is known of its connection. Never blocks but in a poller."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import recv_monitor_message

from incv3d.client.daemon_address import DOOR_PORT, connect_address, is_ipv6
from incv3d.client.handshake import FAILED_HANDSHAKE, ClientError, HandshakeMonitor, NoEntry
from incv3d.protocol.curve_keys import ClientKey
from incv3d.protocol.keepalive import keep_alive

__all__ = ["ClientError", "Connection", "NoAnswer", "NoEntry", "wait_ms"]

EVENTS = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | FAILED_HANDSHAKE
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1000
"""A daemon that is away is looked for after 100 ms, then ever less often, at last once a second."""
LONGEST_POLL_MS = 500
"""Ctrl-C interrupts a poll, but not when it comes just before; then it is noticed after so long."""


class NoAnswer(ClientError):
    """The daemon did not answer in time, or the connection broke before it did."""


class Connection:
    """A DEALER socket that knows whether its other end is there. It reconnects by itself.

    ZeroMQ would keep what is sent while nobody listens, and hand it to the daemon minutes later, stale. So
    nothing is to be sent before :attr:`connected`, and what was under way when :attr:`losses` went up has
    lost its answer: the daemon knows a connection's peer, not its next connection's.

    :param address: where the daemon's door is; the host is enough.
    :param key: for a daemon that wants one.
    :raises ClientError: the address is none that ZeroMQ can connect to.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, key: ClientKey | None = None
    ) -> None:
        self.address = address = connect_address(address, DOOR_PORT)
        self.connected = False
        self.losses = 0
        """How often an established connection broke."""
        self.foreign = False
        """Whether what listens there hangs up, because it is not a daemon's door or wants a key."""
        self._entry = HandshakeMonitor(address, key)
        self._turned_away = False
        self.socket = context.socket(zmq.DEALER)
        if key:
            key.lock(self.socket)
        self.socket.set(zmq.IPV6, is_ipv6(address))
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        keep_alive(self.socket)
        self.monitor = self.socket.get_monitor_socket(EVENTS)
        self.monitor.set(zmq.LINGER, 0)
        self._poller = zmq.Poller()
        self.register(self._poller)
        try:
            self.socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ClientError(f"{address}: cannot connect: {error.strerror}") from None

    def register(self, poller: zmq.Poller) -> None:
        """Let `poller` wake up when there is something to :meth:`receive` or to :meth:`look` at."""
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.monitor, zmq.POLLIN)

    def look(self) -> None:
        """Take notice of what became of the connection.

        :raises NoEntry: the daemon wants a key, or another one.
        """
        while self.monitor.poll(0):
            message = recv_monitor_message(self.monitor, zmq.NOBLOCK)
            event = message["event"]
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                self.connected, self.foreign = True, False
                self._entry.succeeded()
            elif event == zmq.Event.DISCONNECTED:
                self.losses += self.connected
                # A socket of another kind, such as the one that publishes, hangs up before that.
                self.foreign = not self.connected
                self.connected = False
            else:
                self.foreign = True
                try:
                    self._entry.failed(event, int(message["value"]))
                except NoEntry:
                    self._turned_away = True
                    raise

    def wait(self, deadline: float) -> None:
        """Return when there may be something to read, when the connection came or went, or at `deadline`."""
        if self._poller.poll(wait_ms(deadline)):
            self.look()

    def wait_connected(self, deadline: float) -> bool:
        """Whether the daemon's end was there before `deadline` (monotonic).

        :raises NoEntry: the daemon wants a key, or another one; it may know this one when asked again.
        """
        if self._turned_away:
            self._knock_again()
        self.look()
        while not self.connected and time.monotonic() < deadline:
            # Late answers of earlier requests would wake the poller again and again.
            if self.monitor.poll(wait_ms(deadline)):
                self.look()
        return self.connected

    def try_send(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Hand a message to ZeroMQ; False when it holds as many as it will for this connection."""
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> bytes | None:
        """The next answer that is there already; None when there is none."""
        with contextlib.suppress(zmq.Again):
            # An answer has one part; were there more, they would not be of this wire format.
            return self.socket.recv_multipart(zmq.NOBLOCK)[-1]
        return None

    def _knock_again(self) -> None:
        """ZeroMQ itself does not try again once it was turned away."""
        self.socket.disconnect(self.address)
        while self.monitor.poll(0):
            self.monitor.recv_multipart(zmq.NOBLOCK)
        self._turned_away = self.connected = False
        self._entry.succeeded()
        self.socket.connect(self.address)

    def close(self) -> None:
        """Let go of the connection; what was not sent yet is dropped."""
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()


def wait_ms(deadline: float) -> int:
    """How long to poll, at most :data:`LONGEST_POLL_MS`: a wait is a loop over such polls.

    Rounded up, as a poller that is asked to wait 0 ms would spin through the last one.
    """
    left_ms = (deadline - time.monotonic()) * 1000
    return max(0, math.ceil(min(left_ms, LONGEST_POLL_MS)))
