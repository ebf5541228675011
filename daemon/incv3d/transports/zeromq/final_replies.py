"""Send the last answers of a daemon that stops, each together with the end of its connection.

A sender in a loop sends its next request as soon as it has an answer. If that request reaches a socket that
is about to close, no answer comes, and a plain REQ socket waits for it forever. If the connection ends first,
the sender's ZeroMQ keeps the request until it has connected again, to the next daemon. The gap between the
two is less than a tenth of a millisecond, and ZeroMQ closes its connections only all at once, asynchronously.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from incv3d.transports.zeromq.peer_socket import PeerSocket

MORE, LONG = 1, 2
"""Flags of a frame in ZMTP 3.1 (RFC 37)."""
Message = Sequence[bytes]


def send_and_disconnect(
    answers: Iterable[tuple[PeerSocket | None, Message]], send: Callable[[Message], None], encrypted: bool
) -> None:
    """Send the last answers so that no sender can send anything more over the connection of its answer.

    Over TCP the kernel holds what is sent until the ROUTER socket is closed, which the caller must do at
    once: answer and end leave in one packet. Unix sockets cannot hold data back, so there the answer is
    written past ZeroMQ.

    :param answers: messages as a ROUTER socket sends them, and the connection of each.
    :param send: sends one message over the ROUTER socket.
    :param encrypted: whether the connections are encrypted, so that only ZeroMQ can write to them.
    """
    by_socket: dict[PeerSocket | None, list[Message]] = {}
    for peer, message in answers:
        by_socket.setdefault(peer, []).append(message)
    is_corked = {peer: peer is not None and _cork(peer) for peer in by_socket}
    with _realtime_priority():
        for peer, messages in by_socket.items():
            is_past_zeromq = peer and not (encrypted or is_corked[peer]) and _send_and_end(peer, messages)
            for message in () if is_past_zeromq else messages:
                send(message)


def _cork(peer: PeerSocket) -> bool:
    """Hold back data to `peer` until its connection closes (at most 0.2 s); False: it is not TCP."""
    with contextlib.suppress(OSError), peer.copy() as socket:
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_CORK, 1)
        return True
    return False


def _send_and_end(peer: PeerSocket, messages: Iterable[Message]) -> bool:
    """Write messages to an idle connection and end it; False: the connection is gone."""
    data = b"".join(_zmtp(message[1:]) for message in messages)
    with contextlib.suppress(OSError), peer.copy() as socket:
        socket.send(data)
        socket.shutdown(sockets.SHUT_WR)
        return True
    return False


def _zmtp(parts: Message) -> bytes:
    """Return a message as ZeroMQ writes it to an unencrypted connection."""
    frames: list[bytes] = []
    for number, part in enumerate(parts, 1):
        is_long = len(part) > 255
        flags = (MORE if number < len(parts) else 0) | (LONG if is_long else 0)
        frames += [struct.pack(">BQ" if is_long else ">BB", flags, len(part)), part]
    return b"".join(frames)


@contextlib.contextmanager
def _realtime_priority() -> Iterator[None]:
    """Keep the processor where permitted: otherwise a sender that wakes up would take it."""
    before = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))
