"""Bind the server's sockets, with timeouts and keepalive for peers that vanish or never speak."""

from __future__ import annotations

import time

import zmq

from incv3d.protocol.keepalive import keep_alive
from incv3d.transports.errors import TransportError

RECEIVE_HIGH_WATER_MARK = 4
"""Messages that ZeroMQ may hold for one peer before TCP pushes back: requests wait in the frame queue."""
SEND_HIGH_WATER_MARK = 1000
"""Answers and results that ZeroMQ may hold for one peer that does not read, beyond what the kernel holds:
about 700 kB. Further ones are dropped, for that peer alone."""
HANDSHAKE_MS = 10_000
"""A connection that has not finished its handshake by then is closed: it takes a file descriptor."""
LINGER_MS = 1000
"""How long closing waits until the last answers and results have left the machine."""
BIND_AGAIN_S = 5.0
"""How long ZeroMQ may take to release an address that it listened on."""
BIND_AGAIN_PAUSE_S = 0.002


def configure_router(router: zmq.Socket[bytes], max_message_bytes: int) -> None:
    """Configure a ROUTER socket, which is not bound yet, for requests of up to `max_message_bytes`."""
    router.set(zmq.RCVHWM, RECEIVE_HIGH_WATER_MARK)
    # A larger message is cut off before it is in memory; up to half of this, it gets an answer that says so.
    router.set(zmq.MAXMSGSIZE, 2 * max_message_bytes)
    # A peer that reconnects with its own name takes that name over, instead of being ignored. (If two share
    # a name for good, libzmq forgets the first, and its descriptor if it continues to send.)
    router.set(zmq.ROUTER_HANDOVER, 1)
    # An answer that cannot be sent raises an error, and is counted, instead of being dropped silently.
    router.set(zmq.ROUTER_MANDATORY, 1)


def listen(socket: zmq.Socket[bytes], address: str, key: str) -> None:
    """Bind `socket` to `address`.

    :param key: the key of the configuration, for the message.
    :raises TransportError: the address is in use or does not belong to this machine.
    """
    socket.set(zmq.SNDHWM, SEND_HIGH_WATER_MARK)
    socket.set(zmq.LINGER, LINGER_MS)
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    keep_alive(socket)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        hint = " (is incv3d running already?)" if error.errno == zmq.EADDRINUSE else ""
        raise TransportError(f"{key}: cannot listen on {address}: {_reason(error)}{hint}") from None


def disconnect_all(socket: zmq.Socket[bytes], address: str, key: str) -> None:
    """Close every connection of `socket`, which is bound to `address`, and listen there again.

    ZeroMQ's peers connect again by themselves, if they are accepted.

    :raises TransportError: another program has taken the address meanwhile.
    """
    socket.unbind(socket.get_string(zmq.LAST_ENDPOINT))
    deadline = time.monotonic() + BIND_AGAIN_S
    while True:
        try:
            socket.bind(address)
            return
        except zmq.ZMQError as error:
            # Another thread of ZeroMQ releases the address, a little later.
            if error.errno != zmq.EADDRINUSE or time.monotonic() >= deadline:
                raise TransportError(f"{key}: cannot listen on {address} again: {_reason(error)}") from None
        time.sleep(BIND_AGAIN_PAUSE_S)


def _reason(error: zmq.ZMQError) -> str:
    """Return why it failed, without the address that pyzmq appends."""
    return str(error.strerror).partition(" (addr=")[0]
