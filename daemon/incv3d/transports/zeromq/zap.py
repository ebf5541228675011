"""Lets in the clients whose keys are known: ZeroMQ asks here about every connection (ZAP, RFC 27)."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from incv3d.protocol.curve_keys import KeyFileError
from incv3d.transports.zeromq.key_store import KeyStore, KnownClient
from incv3d.transports.zeromq.peer_socket import PeerSocket

LOG = logging.getLogger(__name__)
ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"
DOMAIN = b"incv3d"
QUESTIONS_BURST = 16
"""Connections decided between two looks at requests and answers: a flood of strangers is to come last."""
LOOK_AGAIN_S = 1.0
"""Two changes of a folder within one tick of the file system's clock look like one: a second look, so much
later, finds the other."""
TELL_EVERY_S = 60.0
"""How often the log says that strangers were turned away."""
CONNECTIONS_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class _Connection:
    """One that a message came over."""

    user: bytes
    socket: PeerSocket


class ZapAuthenticator:
    """Authenticates clients by a :class:`~incv3d.transports.zeromq.key_store.KeyStore`, which may change.

    For the intake's own thread, whose poller it joins: the authenticator of ``zmq.auth`` has a thread and an
    asyncio loop of its own, which take 9 MB, and whose death nobody would notice.

    :param context: whose sockets it guards.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], ring: KeyStore) -> None:
        self._ring = ring
        self.questions = context.socket(zmq.REP)
        """Readable while a connection waits for its decision."""
        self._clients: dict[bytes, KnownClient] = {}
        self._signature: object = ()  # unlike every signature: the first look reads
        self._look_again: float | None = None
        self._failed = False
        self._connections: OrderedDict[bytes, _Connection] = OrderedDict()  # by peer, the latest last
        self._strangers = 0
        self._told = -TELL_EVERY_S

    def open(self) -> None:
        """Begin to decide; to be called before the sockets that it guards are bound."""
        self.questions.set(zmq.LINGER, 0)
        self.questions.bind(ZAP_ADDRESS)
        self.look()
        if not self._clients:
            LOG.warning("no client has a key yet, so nobody can connect: incv3d keys add CLIENT")

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Let `socket`, which is not bound yet, take nobody but those who are let in here.

        :raises KeyFileError: the daemon's own pair cannot be used.
        """
        socket.curve_server = True
        socket.curve_secretkey = self._ring.server().secret
        socket.zap_domain = DOMAIN
        # Were nobody there to ask, ZeroMQ would let every key in.
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def status(self) -> dict[str, int]:
        """For ``stats``: how many clients may connect, how often a stranger could not."""
        return {"clients": len(self._clients), "turned_away": self._strangers}

    def reread(self) -> None:
        """Read the keys again at the next :meth:`look`, changed or not; callable from any thread."""
        self._signature = ()

    def look(self) -> bool:
        """Take notice of clients that were added or revoked; returns whether any was revoked.

        Their connections are hung up on, as far as anything came over them.
        """
        now = time.monotonic()
        signature = self._ring.signature()
        changed = signature != self._signature
        if not changed and (self._look_again is None or now < self._look_again):
            return False
        self._look_again = now + LOOK_AGAIN_S if changed else None
        self._signature = signature
        before = self._clients
        try:
            self._clients = self._ring.clients()
        except KeyFileError as error:
            if not self._failed:
                LOG.error("%s; the clients stay those that they were", error)
            self._failed = True
            self._look_again = now + LOOK_AGAIN_S  # until they can be read: the folder need not change again
            return False
        self._failed = False
        gone = [client.name for key, client in before.items() if key not in self._clients]
        come = [client.name for key, client in self._clients.items() if key not in before]
        for what, names in (("let in from now on", come), ("let in no more", gone)):
            if names:
                LOG.info("clients %s: %s", what, ", ".join(names))
        if gone:
            for peer, connection in list(self._connections.items()):
                if not self.knows(connection.user):
                    self._hang_up(peer)
        return bool(gone)

    def decide(self) -> None:
        """Answer some of the questions that wait."""
        for _ in range(QUESTIONS_BURST):
            try:
                question = self.questions.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            _, number, _, address, _, mechanism, *credentials = question
            key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
            known = key in self._clients
            if not known:
                self._turn_away(address.decode("ascii", "replace"))
            verdict = (b"200", b"OK", key) if known else (b"400", b"unknown key", b"")
            self.questions.send_multipart([ZAP_VERSION, number, *verdict, b""])

    def admit(self, peer: bytes, part: zmq.Frame) -> bytes | None:
        """The key of the client that sent `part` over the connection `peer`; None: it is to get nothing.

        A connection was let in once, but its client may have been revoked since.
        """
        user = str(part.get("User-Id")).encode()
        connection = self._connections.get(peer)
        descriptor = int(part.get(zmq.SRCFD))
        if connection is None or connection.socket.descriptor != descriptor:
            self._remember(peer, user, PeerSocket.under(part))
        if self.knows(user):
            return user
        self._hang_up(peer)
        return None

    def knows(self, user: bytes) -> bool:
        """Whether the client with this key may still be served."""
        return user in self._clients

    def close(self) -> None:
        """Decide no more; to be called after the sockets that it guards are closed."""
        self.questions.close()

    def _remember(self, peer: bytes, user: bytes, socket: PeerSocket | None) -> None:
        if socket is None:  # it is gone already
            return
        self._connections[peer] = _Connection(user, socket)
        if len(self._connections) > CONNECTIONS_REMEMBERED:
            self._connections.popitem(last=False)

    def _hang_up(self, peer: bytes) -> None:
        if connection := self._connections.pop(peer, None):
            connection.socket.hang_up()

    def _turn_away(self, address: str) -> None:
        self._strangers += 1
        now = time.monotonic()
        if now >= self._told + TELL_EVERY_S:
            self._told = now
            who = address or "this machine"
            LOG.warning("turned away a client at %s: its key is not known (%d so far)", who, self._strangers)
