"""How every ZeroMQ socket notices that the machine at the other end is gone."""

from __future__ import annotations

import zmq

IDLE_S = 30
INTERVAL_S = 10
PROBES = 3
UNACKNOWLEDGED_MS = 60_000


def keep_alive(socket: zmq.Socket[bytes]) -> None:
    """Let TCP notice within a minute that a machine vanished without a word; before bind or connect.

    ZeroMQ's own heartbeats would also notice a process that was merely stopped, but libzmq 4.3.5 aborts when
    one falls due on a connection that was lost while it waited at its high-water mark (libzmq issues 3937 and
    4767), as those of a source do whose frames are taken slowly.
    """
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, IDLE_S)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, INTERVAL_S)
    socket.set(zmq.TCP_KEEPALIVE_CNT, PROBES)
    socket.set(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
