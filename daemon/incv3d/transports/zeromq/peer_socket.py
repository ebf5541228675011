"""The operating system's socket under one connection of a ZeroMQ socket."""

from __future__ import annotations

import contextlib
import os
import socket as sockets
from collections.abc import Iterator
from dataclasses import dataclass

import zmq


@dataclass(frozen=True, slots=True)
class PeerSocket:
    """Identifies the socket of one connection, which belongs to ZeroMQ and can be closed at any time."""

    descriptor: int
    inode: int
    """Distinguishes it from a later connection with the same descriptor."""

    @classmethod
    def under(cls, part: zmq.Frame) -> PeerSocket | None:
        """Return the socket over which `part` arrived; None if it is closed already.

        ZeroMQ does not say which it is if the peer speaks a protocol older than ZMTP 3: then None, too.
        """
        try:
            return cls.of(int(part.get(zmq.SRCFD)))
        except (OSError, zmq.ZMQError):
            return None

    @classmethod
    def of(cls, descriptor: int) -> PeerSocket:
        """Return the socket with this descriptor.

        :raises OSError: it is closed.
        """
        return cls(descriptor, os.fstat(descriptor).st_ino)

    @contextlib.contextmanager
    def copy(self) -> Iterator[sockets.socket]:
        """Yield a duplicate of the socket, for immediate use.

        :raises OSError: it is closed already.
        """
        with sockets.socket(fileno=os.dup(self.descriptor)) as copy:
            if os.fstat(copy.fileno()).st_ino != self.inode:
                raise ConnectionError("another connection has its descriptor")
            yield copy

    def hang_up(self) -> None:
        """Shut the connection, as if the peer had left: ZeroMQ closes no single connection by itself."""
        with contextlib.suppress(OSError), self.copy() as socket:  # or it is gone already
            socket.shutdown(sockets.SHUT_RDWR)


def address_of(part: zmq.Frame) -> str:
    """Return the address that `part` came from."""
    try:
        return str(part.get("Peer-Address")) or "this machine"
    except zmq.ZMQError:
        return "this machine"
