"""The last answers of a daemon that stops: each leaves together with the end of its connection.

A sender in a loop sends its next request as soon as it has an answer. If that reaches a door that is about
to close, no answer comes, and a plain REQ socket waits for it forever. If the connection ends first, the
sender's ZeroMQ keeps the request until it has connected again, which is to the next daemon. Between the two
lies less than a tenth of a millisecond, and ZeroMQ closes connections only all together, in its own time.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import zmq

MORE, LONG = 1, 2
"""Flags of a frame in ZMTP 3.1 (RFC 37)."""
Message = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class PeerSocket:
    """The operating system's socket under one connection of a ZeroMQ socket."""

    descriptor: int
    inode: int
    """Tells it from another connection that has its descriptor now."""

    @classmethod
    def under(cls, part: zmq.Frame) -> PeerSocket | None:
        """The one that `part` came over; None: it is closed already."""
        descriptor = int(part.get(zmq.SRCFD))
        try:
            return cls(descriptor, os.fstat(descriptor).st_ino)
        except OSError:
            return None

    @contextlib.contextmanager
    def copy(self) -> Iterator[sockets.socket]:
        """A copy of it, to be used at once.

        :raises OSError: it is closed already.
        """
        with sockets.socket(fileno=os.dup(self.descriptor)) as copy:
            if os.fstat(copy.fileno()).st_ino != self.inode:
                raise ConnectionError("another connection has its descriptor")
            yield copy


def take_leave(
    answers: Iterable[tuple[PeerSocket | None, Message]], send: Callable[[Message], None], encrypted: bool
) -> None:
    """Send the last answers, and let no sender send anything more over the connection of its answer.

    What is sent over TCP waits in the kernel until the ROUTER socket is closed, which must be at once: answer
    and end leave in one packet. Unix sockets cannot wait, so there ZeroMQ is passed by.

    :param answers: messages as a ROUTER socket sends them, and the connection of each.
    :param send: sends one by that socket.
    :param encrypted: whether its connections are, so that none but ZeroMQ can send over them.
    """
    by_socket: dict[PeerSocket | None, list[Message]] = {}
    for peer, message in answers:
        by_socket.setdefault(peer, []).append(message)
    is_corked = {peer: peer is not None and _cork(peer) for peer in by_socket}
    with _undisturbed():
        for peer, messages in by_socket.items():
            is_past_zeromq = peer and not (encrypted or is_corked[peer]) and _send_and_end(peer, messages)
            for message in () if is_past_zeromq else messages:
                send(message)


def _cork(peer: PeerSocket) -> bool:
    """Hold what is sent to `peer` until its connection is closed, 0.2 s at most; False: it is not TCP."""
    with contextlib.suppress(OSError), peer.copy() as socket:
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_CORK, 1)
        return True
    return False


def _send_and_end(peer: PeerSocket, messages: Iterable[Message]) -> bool:
    """Send over a connection that nothing else is being sent over; False: it is gone."""
    data = b"".join(_zmtp(message[1:]) for message in messages)
    with contextlib.suppress(OSError), peer.copy() as socket:
        socket.send(data)
        socket.shutdown(sockets.SHUT_WR)
        return True
    return False


def _zmtp(parts: Message) -> bytes:
    """A message as ZeroMQ sends it over a connection that is not encrypted."""
    frames: list[bytes] = []
    for number, part in enumerate(parts, 1):
        is_long = len(part) > 255
        flags = (MORE if number < len(parts) else 0) | (LONG if is_long else 0)
        frames += [struct.pack(">BQ" if is_long else ">BB", flags, len(part)), part]
    return b"".join(frames)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the processor, where that is allowed: a sender that wakes up would take it otherwise."""
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
