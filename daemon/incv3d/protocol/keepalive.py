"""Set TCP keep-alive on ZeroMQ sockets, to notice when the machine at the other end has gone."""

from __future__ import annotations

import zmq

IDLE_S = 30
INTERVAL_S = 10
PROBES = 3
UNACKNOWLEDGED_MS = 60_000


def keep_alive(socket: zmq.Socket[bytes]) -> None:
    """Make TCP notice within a minute that the other machine has vanished; call before bind or connect.

    ZeroMQ's own heartbeats would also notice a process that was merely stopped, but libzmq 4.3.5 aborts when
    a heartbeat is due on a connection that was lost while it waited at its high-water mark (libzmq issues
    3937 and 4767), as with a source whose frames are taken slowly.
    """
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, IDLE_S)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, INTERVAL_S)
    socket.set(zmq.TCP_KEEPALIVE_CNT, PROBES)
    socket.set(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
