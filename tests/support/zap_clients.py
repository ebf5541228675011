"""A key store that counts its reads, and messages that get through authentication."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import zmq

from incv3d.protocol.curve_keys import ClientKey, KeyFileError, new_pair
from incv3d.transports.zeromq.key_store import KeyStore, KnownClient
from incv3d.transports.zeromq.peer_socket import PeerSocket
from incv3d.transports.zeromq.zap import ZapAuthenticator

ZAP = "inproc://zeromq.zap.01"


SOON_MS = 10_000


SILENCE_MS = 200


class CountingRing(KeyStore):
    """A key ring that knows how often its files were read, and can be made unreadable."""

    reads = 0
    broken = False

    def clients(self) -> dict[bytes, KnownClient]:
        self.reads += 1
        if self.broken:
            raise KeyFileError("the disk is gone")
        return super().clients()

    def let_in(self, name: str) -> ClientKey:
        pair = new_pair()
        self.add(name, pair.public.decode())
        return ClientKey(pair, self.server_public())


@dataclass(frozen=True)
class Message:
    """A message that came through, and the connection that it came over."""

    peer: bytes
    part: zmq.Frame
    connection: PeerSocket

    def is_connected(self) -> bool:
        try:
            with self.connection.copy() as copy:
                return copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True  # nothing to read, but there may be
        except OSError:
            return False


def message(keeper: ZapAuthenticator, router: zmq.Socket[bytes], wait_ms: int = SOON_MS) -> Message | None:
    """The next message that comes through."""
    end = time.monotonic() + wait_ms / 1000
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(keeper.socket, zmq.POLLIN)
    while (left_s := end - time.monotonic()) > 0:
        ready = dict(poller.poll(left_s * 1000))
        if keeper.socket in ready:
            keeper.decide()
        if router in ready:
            peer, part = router.recv_multipart(copy=False)
            connection = PeerSocket.under(part)
            assert connection
            return Message(peer.bytes, part, connection)
    return None
