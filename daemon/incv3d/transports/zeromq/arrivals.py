"""Limit the memory of messages that have only partly arrived, and of subscriptions.

ZeroMQ limits the size of one part of a message. It limits neither the number of parts nor the number of peers
that are in the middle of a message, nor the subscriptions of one, whether or not they have a key. But the
kernel counts what it receives over each connection (``TCP_INFO``, since Linux 4.1); the bytes that the server
has not read are in memory. What subscribers send it never reads.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket as sockets
import struct
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass

import zmq

from incv3d.transports.zeromq.peer_socket import PeerSocket

LOG = logging.getLogger(__name__)
CHECK_INTERVAL_S = 0.05
"""How often to check while bytes arrive. At a gigabit per second, 6 MB arrive in between."""
LONGEST_INTERVAL_S = 0.25
"""How often to check when nothing has arrived for a while."""
RECEIVED_BYTES_AT = 128
"""Where ``tcpi_bytes_received`` is in ``struct tcp_info`` (linux/tcp.h)."""
SUBSCRIPTION_BYTES = 2**20
"""What all subscribers may have sent over connections that are still open. ZeroMQ keeps about 500 bytes of a
subscription that takes 10 on the wire: 50 MB."""
EVENT = "=HI"
"""What ZeroMQ reports about a connection: event and descriptor (zmq_socket_monitor(3)). The functions of
``zmq.utils.monitor`` for it import asyncio, which takes 7 MB."""
LOG_INTERVAL_S = 60.0
"""How often the log says that connections were closed."""


@dataclass(slots=True)
class _Arrival:
    """One connection."""

    socket: PeerSocket
    address: str
    is_subscriber: bool
    received_bytes: int = 0
    """The kernel's count at the last check."""
    read_bytes: int = 0
    """How many of them the server has read."""
    read_since: int = 0
    """Bytes read since the last check, without ZeroMQ's own bytes."""

    @property
    def unread_bytes(self) -> int:
        return self.received_bytes - self.read_bytes

    def update(self, received_bytes: int) -> None:
        if self.read_since:
            # The messages of a connection arrive one after the other: earlier bytes are read, too.
            self.read_bytes = max(self.read_bytes + self.read_since, self.received_bytes)
            self.read_since = 0
        self.received_bytes = received_bytes


class Arrivals:
    """Close connections when incomplete messages, or subscriptions, hold too much memory together.

    The connection that holds most is closed first, among those of the address that holds most in total.
    Unix sockets have no counter: the permissions of their files decide which users can open them.

    :ivar limit_bytes: the most that incomplete messages may hold together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.monitors: list[zmq.Socket[bytes]] = []
        """Sockets that are readable when a connection was opened or closed."""
        self.closed = 0
        """How many connections were closed."""
        self._watched: list[zmq.Socket[bytes]] = []  # in the order of their monitors
        self._arrivals: dict[int, _Arrival] = {}  # by descriptor
        self._interval_s = CHECK_INTERVAL_S
        self._next_check = 0.0
        self._logged = -math.inf

    def watch(self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes]) -> None:
        """Count the bytes that arrive at `socket`, which is not bound yet."""
        address = f"inproc://arrivals-{len(self._watched)}"
        socket.monitor(address, zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED)
        self._watched.append(socket)
        monitor = context.socket(zmq.PAIR)
        monitor.set(zmq.RCVHWM, 0)  # ZeroMQ's own thread would wait for room
        monitor.set(zmq.LINGER, 0)
        monitor.connect(address)
        self.monitors.append(monitor)

    def read(self, peer: PeerSocket | None, size_bytes: int) -> None:
        """Note that a message from `peer` was read."""
        arrival = self._arrivals.get(peer.descriptor) if peer else None
        if arrival:
            arrival.read_since += size_bytes

    def wait_s(self, now: float) -> float | None:
        """Return the time until the next check; None: there is no connection."""
        return max(0.0, self._next_check - now) if self._arrivals else None

    def check(self, now: float, ready: Container[object]) -> None:
        """Check every connection, if it is time, and close those that hold too much.

        :param ready: contains the monitors that are readable.
        """
        for socket, monitor in zip(self._watched, self.monitors, strict=True):
            if monitor in ready:
                self._note(monitor, now, is_subscriber=socket.type == zmq.PUB)
        if now < self._next_check or not self._arrivals:
            return
        is_quiet = True
        for descriptor, arrival in list(self._arrivals.items()):
            received_bytes = _received_bytes(descriptor)
            if received_bytes is None:
                del self._arrivals[descriptor]
                continue
            is_quiet = is_quiet and received_bytes == arrival.received_bytes
            arrival.update(received_bytes)
        longer_s = min(2 * self._interval_s, LONGEST_INTERVAL_S)
        self._interval_s = longer_s if is_quiet else CHECK_INTERVAL_S
        self._next_check = now + self._interval_s
        self._enforce(now, "incomplete messages", self.limit_bytes, is_subscriber=False)
        self._enforce(now, "subscriptions", SUBSCRIPTION_BYTES, is_subscriber=True)

    def close(self) -> None:
        """Stop watching; call this before the sockets are closed."""
        for socket, monitor in zip(self._watched, self.monitors, strict=True):
            socket.monitor(None, 0)
            monitor.close()

    def _note(self, monitor: zmq.Socket[bytes], now: float, is_subscriber: bool) -> None:
        while True:
            try:
                facts, _ = monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event, descriptor = struct.unpack(EVENT, facts)
            self._arrivals.pop(descriptor, None)
            if event == zmq.Event.ACCEPTED and _received_bytes(descriptor) is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    peer = PeerSocket.of(descriptor)
                    with peer.copy() as socket:
                        self._arrivals[descriptor] = _Arrival(
                            peer, str(socket.getpeername()[0]), is_subscriber
                        )
                    self._next_check = min(self._next_check, now + CHECK_INTERVAL_S)

    def _enforce(self, now: float, what: str, limit_bytes: int, is_subscriber: bool) -> None:
        arrivals = [each for each in self._arrivals.values() if each.is_subscriber == is_subscriber]
        by_address: Counter[str] = Counter()
        for arrival in arrivals:
            by_address[arrival.address] += arrival.unread_bytes
        while (total_bytes := by_address.total()) > limit_bytes:
            address = by_address.most_common(1)[0][0]
            of_address = [each for each in arrivals if each.address == address]
            worst = max(of_address, key=lambda each: each.unread_bytes)
            by_address[address] -= worst.unread_bytes
            arrivals.remove(worst)
            del self._arrivals[worst.socket.descriptor]
            worst.socket.hang_up()
            self.closed += 1
            if now >= self._logged + LOG_INTERVAL_S:
                self._logged = now
                LOG.warning(
                    "closed a connection of %s: %s held %d MB, the limit is %d MB (%d closed so far)",
                    address,
                    what,
                    total_bytes / 1e6,
                    limit_bytes / 1e6,
                    self.closed,
                )


def _received_bytes(descriptor: int) -> int | None:
    """Return how many bytes the kernel has received over a connection; None: it is closed, or not TCP."""
    try:
        socket = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM, 0, descriptor)
        try:
            facts = socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, RECEIVED_BYTES_AT + 8)
        finally:
            socket.detach()
    except OSError:
        return None
    if len(facts) < RECEIVED_BYTES_AT + 8:
        return None
    return int(struct.unpack_from("Q", facts, RECEIVED_BYTES_AT)[0])
