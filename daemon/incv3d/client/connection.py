"""Manage one DEALER socket to a daemon and the state of its connection. Blocks only in a poller."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import recv_monitor_message

from incv3d.client.daemon_address import REQUEST_PORT, connect_address, is_ipv6
from incv3d.client.handshake import FAILED_HANDSHAKE, ClientError, HandshakeMonitor, NoEntry
from incv3d.protocol.curve_keys import ClientKey
from incv3d.protocol.keepalive import keep_alive

__all__ = ["ClientError", "Connection", "NoAnswer", "NoEntry", "wait_ms"]

EVENTS = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | FAILED_HANDSHAKE
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1000
"""A missing daemon is tried after 100 ms, then less and less often, finally once per second."""
LONGEST_POLL_MS = 500
"""Ctrl-C interrupts a poll, but not if it comes just before it; then it is noticed after this time."""


class NoAnswer(ClientError):
    """The daemon did not answer in time, or the connection broke before it did."""


class Connection:
    """A DEALER socket that knows whether the daemon is connected. It reconnects by itself.

    ZeroMQ would keep messages sent while nothing listens, and deliver them minutes later, stale. So nothing
    may be sent before :attr:`connected`, and requests in progress when :attr:`losses` increases will get no
    answer: to the daemon, a new connection is a new peer.

    :param address: the daemon's address; the host is enough.
    :param key: for a daemon that uses keys.
    :raises ClientError: the address is not valid.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, key: ClientKey | None = None
    ) -> None:
        self.address = address = connect_address(address, REQUEST_PORT)
        self.connected = False
        self.losses = 0
        """Number of times that an established connection was lost."""
        self.foreign = False
        """Whether the server hangs up because it is not a daemon's request socket, or requires a key."""
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
        """Register with `poller`, to wake up when there is something to :meth:`receive` or :meth:`look`
        at."""
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.monitor, zmq.POLLIN)

    def look(self) -> None:
        """Process changes of the connection.

        :raises NoEntry: the daemon requires a key, or another one.
        """
        while self.monitor.poll(0):
            message = recv_monitor_message(self.monitor, zmq.NOBLOCK)
            event = message["event"]
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                self.connected, self.foreign = True, False
                self._entry.succeeded()
            elif event == zmq.Event.DISCONNECTED:
                self.losses += self.connected
                # A socket of another kind, such as the publisher, hangs up before that.
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
        """Return when there may be something to read, when the connection changed, or at `deadline`."""
        if self._poller.poll(wait_ms(deadline)):
            self.look()

    def wait_connected(self, deadline: float) -> bool:
        """Wait for the daemon to connect. Return whether it did before `deadline` (monotonic).

        :raises NoEntry: the daemon requires a key, or another one; it may accept this one later.
        """
        if self._turned_away:
            self._reconnect()
        self.look()
        while not self.connected and time.monotonic() < deadline:
            # Late answers of earlier requests would wake the poller repeatedly.
            if self.monitor.poll(wait_ms(deadline)):
                self.look()
        return self.connected

    def try_send(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Pass a message to ZeroMQ. Return False if its queue for this connection is full."""
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> bytes | None:
        """Return the next answer that has arrived, or None."""
        with contextlib.suppress(zmq.Again):
            # An answer has one part; more would belong to another wire format.
            return self.socket.recv_multipart(zmq.NOBLOCK)[-1]
        return None

    def _reconnect(self) -> None:
        """Reconnect after a rejected handshake, which ZeroMQ itself does not retry."""
        self.socket.disconnect(self.address)
        while self.monitor.poll(0):
            self.monitor.recv_multipart(zmq.NOBLOCK)
        self._turned_away = self.connected = False
        self._entry.succeeded()
        self.socket.connect(self.address)

    def close(self) -> None:
        """Close the connection, dropping unsent messages."""
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()


def wait_ms(deadline: float) -> int:
    """Return how long to poll, at most :data:`LONGEST_POLL_MS`: a wait is a loop of such polls.

    Rounded up, because a poller called with 0 ms would spin through the last millisecond.
    """
    left_ms = (deadline - time.monotonic()) * 1000
    return max(0, math.ceil(min(left_ms, LONGEST_POLL_MS)))
