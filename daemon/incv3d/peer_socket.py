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
        """Return the socket over which `part` arrived; None if it is closed already."""
        descriptor = int(part.get(zmq.SRCFD))
        try:
            return cls(descriptor, os.fstat(descriptor).st_ino)
        except OSError:
            return None

    @contextlib.contextmanager
    def copy(self) -> Iterator[sockets.socket]:
        """Yield a duplicate of the socket, for immediate use.

        :raises OSError: it is closed already.
        """
        with sockets.socket(fileno=os.dup(self.descriptor)) as copy:
            if os.fstat(copy.fileno()).st_ino != self.inode:
                raise ConnectionError("another connection has its descriptor")
            yield copy


def address_of(part: zmq.Frame) -> str:
    """Return the address that `part` came from."""
    try:
        return str(part.get("Peer-Address")) or "this machine"
    except zmq.ZMQError:
        return "this machine"
