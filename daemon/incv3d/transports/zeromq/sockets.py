"""Binds the door's sockets, so that peers that vanish, or never speak, cost nothing lasting."""

from __future__ import annotations

import time

import zmq

from incv3d.errors import Incv3dError
from incv3d.protocol.keepalive import keep_alive

RECEIVE_HIGH_WATER_MARK = 4
"""Messages that ZeroMQ may hold for one peer before TCP pushes back; the mailbox is where requests wait."""
SEND_HIGH_WATER_MARK = 1000
"""Answers and results that ZeroMQ may hold for one peer that does not read, beyond what the kernel holds:
about 700 kB. Further ones are dropped, for that peer alone."""
HANDSHAKE_MS = 10_000
"""A connection that has not introduced itself by then is closed; it takes one of the descriptors."""
LINGER_MS = 1000
"""How long closing waits for the last answers, and what is published last, to leave the machine."""
BIND_AGAIN_S = 5.0
"""How long ZeroMQ may take to let go of an address that it listened on."""
BIND_AGAIN_PAUSE_S = 0.002


class ServerError(Incv3dError):
    """The door cannot be opened."""


def answer_through(router: zmq.Socket[bytes], max_message_bytes: int) -> None:
    """Prepare a ROUTER socket, which is not bound yet, for requests of at most so many bytes."""
    router.set(zmq.RCVHWM, RECEIVE_HIGH_WATER_MARK)
    # Cut off before the whole message is in memory; up to half of this it is answered politely.
    router.set(zmq.MAXMSGSIZE, 2 * max_message_bytes)
    # A peer that reconnects under its own name takes that name over, instead of being ignored. (Of two
    # that share a name for good, libzmq forgets the first, and its descriptor if it goes on sending.)
    router.set(zmq.ROUTER_HANDOVER, 1)
    # An answer that cannot be sent is known, and counted, instead of being dropped unseen.
    router.set(zmq.ROUTER_MANDATORY, 1)


def listen(socket: zmq.Socket[bytes], address: str, key: str) -> None:
    """Bind `socket` to `address`.

    :param key: of the configuration, for the message.
    :raises IntakeError: the address is in use or not this machine's.
    """
    socket.set(zmq.SNDHWM, SEND_HIGH_WATER_MARK)
    socket.set(zmq.LINGER, LINGER_MS)
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    keep_alive(socket)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        hint = " (is incv3d running already?)" if error.errno == zmq.EADDRINUSE else ""
        raise ServerError(f"{key}: cannot listen on {address}: {error.strerror}{hint}") from None


def hang_up_on_all(socket: zmq.Socket[bytes], address: str, key: str) -> None:
    """Close every connection of `socket`, which is bound to `address`, and listen there again.

    ZeroMQ's peers connect again by themselves, if they are let in.

    :raises IntakeError: another program has taken the address in between.
    """
    socket.unbind(socket.get_string(zmq.LAST_ENDPOINT))
    deadline = time.monotonic() + BIND_AGAIN_S
    while True:
        try:
            socket.bind(address)
            return
        except zmq.ZMQError as error:
            # The address is let go of by another thread, in its own time.
            if error.errno != zmq.EADDRINUSE or time.monotonic() >= deadline:
                raise ServerError(f"{key}: cannot listen on {address} again: {error.strerror}") from None
        time.sleep(BIND_AGAIN_PAUSE_S)
