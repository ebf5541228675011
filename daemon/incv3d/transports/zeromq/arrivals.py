"""Bounds the memory of messages that have begun to arrive and have not ended.

ZeroMQ limits the size of one part of a message. It limits neither the number of parts nor the number of peers
that are in the middle of a message, whether or not they have a key. But the kernel counts what it receives
over each connection (``TCP_INFO``, since Linux 4.1), and what the intake has not read of this is in memory.
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
LOOK_S = 0.05
"""How often to look while something arrives. At a gigabit, 6 MB arrive in between."""
LONGEST_LOOK_S = 0.25
"""The same when nothing has arrived for a while."""
RECEIVED_BYTES_AT = 128
"""Where ``tcpi_bytes_received`` is in ``struct tcp_info`` (linux/tcp.h)."""
EVENT = "=HI"
"""What ZeroMQ says of a connection: event and descriptor (zmq_socket_monitor(3)). The functions of
``zmq.utils.monitor`` for it bring asyncio with them, which takes 7 MB."""
TELL_EVERY_S = 60.0
"""How often the log says that connections were closed."""


@dataclass(slots=True)
class _Arrival:
    """One connection."""

    socket: PeerSocket
    address: str
    received_bytes: int = 0
    """At the last look."""
    read_bytes: int = 0
    """The part of it that was read, which is no longer counted."""
    read_since: int = 0
    """What was read since the last look, without ZeroMQ's own bytes."""

    @property
    def unread_bytes(self) -> int:
        return self.received_bytes - self.read_bytes

    def look(self, received_bytes: int) -> None:
        if self.read_since:
            # A connection's messages come one after the other: what came before the last look is read, too.
            self.read_bytes = max(self.read_bytes + self.read_since, self.received_bytes)
            self.read_since = 0
        self.received_bytes = received_bytes


class Arrivals:
    """Closes connections when messages that have not ended hold too much memory together.

    The connection that holds most is closed first, of the address that holds most with all its connections.
    Unix sockets have no counter: the permissions of their files decide which users can open them.

    :ivar limit_bytes: what these messages may hold together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.monitors: list[zmq.Socket[bytes]] = []
        """Readable when a connection has come or gone."""
        self.closed = 0
        """Connections that were closed."""
        self._watched: list[zmq.Socket[bytes]] = []
        self._arrivals: dict[int, _Arrival] = {}  # by descriptor
        self._interval_s = LOOK_S
        self._next_look = 0.0
        self._told = -math.inf

    def watch(self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes]) -> None:
        """Count what arrives at `socket`, which is not bound yet."""
        address = f"inproc://arrivals-{len(self._watched)}"
        socket.monitor(address, zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED)
        self._watched.append(socket)
        monitor = context.socket(zmq.PAIR)
        monitor.set(zmq.RCVHWM, 0)  # ZeroMQ's own thread would wait for room
        monitor.set(zmq.LINGER, 0)
        monitor.connect(address)
        self.monitors.append(monitor)

    def read(self, peer: PeerSocket | None, size_bytes: int) -> None:
        """Take notice that a message of `peer` was read."""
        arrival = self._arrivals.get(peer.descriptor) if peer else None
        if arrival:
            arrival.read_since += size_bytes

    def wait_s(self, now: float) -> float | None:
        """Return how long it is until the next look; None: there is no connection."""
        return max(0.0, self._next_look - now) if self._arrivals else None

    def look(self, now: float, ready: Container[object]) -> None:
        """Look at every connection, if it is time, and close those that hold too much.

        :param ready: has those of the monitors that are readable.
        """
        for monitor in self.monitors:
            if monitor in ready:
                self._note(monitor, now)
        if now < self._next_look or not self._arrivals:
            return
        is_quiet = True
        for descriptor, arrival in list(self._arrivals.items()):
            received_bytes = _received_bytes(descriptor)
            if received_bytes is None:
                del self._arrivals[descriptor]
                continue
            is_quiet = is_quiet and received_bytes == arrival.received_bytes
            arrival.look(received_bytes)
        self._interval_s = min(2 * self._interval_s, LONGEST_LOOK_S) if is_quiet else LOOK_S
        self._next_look = now + self._interval_s
        self._enforce(now)

    def close(self) -> None:
        """Watch no more; to be called before the sockets are closed."""
        for socket, monitor in zip(self._watched, self.monitors, strict=True):
            socket.monitor(None, 0)
            monitor.close()

    def _note(self, monitor: zmq.Socket[bytes], now: float) -> None:
        while True:
            try:
                facts, _ = monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event, descriptor = struct.unpack(EVENT, facts)
            self._arrivals.pop(descriptor, None)
            if event == zmq.Event.ACCEPTED and _received_bytes(descriptor) is not None:
                with contextlib.suppress(OSError):  # it is gone already
                    peer = PeerSocket.of(descriptor)
                    with peer.copy() as socket:
                        self._arrivals[descriptor] = _Arrival(peer, str(socket.getpeername()[0]))
                    self._next_look = min(self._next_look, now + LOOK_S)

    def _enforce(self, now: float) -> None:
        by_address: Counter[str] = Counter()
        for arrival in self._arrivals.values():
            by_address[arrival.address] += arrival.unread_bytes
        while (total_bytes := by_address.total()) > self.limit_bytes:
            address = by_address.most_common(1)[0][0]
            of_address = [each for each in self._arrivals.values() if each.address == address]
            worst = max(of_address, key=lambda each: each.unread_bytes)
            by_address[address] -= worst.unread_bytes
            del self._arrivals[worst.socket.descriptor]
            worst.socket.hang_up()
            self._tell(address, total_bytes, now)

    def _tell(self, address: str, total_bytes: int, now: float) -> None:
        self.closed += 1
        if now < self._told + TELL_EVERY_S:
            return
        self._told = now
        LOG.warning(
            "closed a connection of %s: messages that had begun to arrive held %d MB, at most %d MB may "
            "(%d closed so far)",
            address,
            total_bytes / 1e6,
            self.limit_bytes / 1e6,
            self.closed,
        )


def _received_bytes(descriptor: int) -> int | None:
    """Return what the kernel received over a connection so far; None: it is gone, or not of TCP."""
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
