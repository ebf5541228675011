"""Authenticate CURVE clients: ZeroMQ asks here about every connection (ZAP, RFC 27)."""

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
DECISION_BURST = 16
"""Connections authenticated per loop, so that a flood of unknown clients cannot starve requests."""
SECOND_CHECK_S = 1.0
"""Two changes of a folder within one tick of the file system's clock look like one: a second check, this much
later, finds the other."""
LOG_INTERVAL_S = 60.0
"""How often the log says that unknown clients were rejected."""
CONNECTIONS_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection that a message came over."""

    user: bytes
    socket: PeerSocket


class ZapAuthenticator:
    """Authenticate clients by a :class:`~incv3d.transports.zeromq.key_store.KeyStore`, which may change.

    It runs in the server's thread. The authenticator of ``zmq.auth`` has a thread and an asyncio loop of its
    own, which take 9 MB, and nothing would notice its death.

    :param context: the context of the sockets that it guards.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyStore) -> None:
        self._keys = keys
        self.socket = context.socket(zmq.REP)
        """Readable while a connection waits to be authenticated."""
        self._clients: dict[bytes, KnownClient] = {}
        self._signature: object = ()  # differs from every signature, so that the first check reads the keys
        self._second_check: float | None = None
        self._failed = False
        self._connections: OrderedDict[bytes, _Connection] = OrderedDict()  # by peer, the latest last
        self._rejected = 0
        self._logged = -LOG_INTERVAL_S

    def open(self) -> None:
        """Start to authenticate; call this before the guarded sockets are bound."""
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(ZAP_ADDRESS)
        self.check()
        if not self._clients:
            LOG.warning("no client has a key yet, so no client can connect: incv3d keys add CLIENT")

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Let only authenticated clients connect to `socket`, which is not bound yet.

        :raises KeyFileError: the daemon's own keys cannot be used.
        """
        socket.curve_server = True
        socket.curve_secretkey = self._keys.server().secret
        socket.zap_domain = DOMAIN
        # Otherwise ZeroMQ would accept every key while nothing answers it.
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def status(self) -> dict[str, int]:
        """Return how many clients may connect, and how many unknown ones were rejected, for ``stats``."""
        return {"clients": len(self._clients), "turned_away": self._rejected}

    def reread(self) -> None:
        """Read the keys again at the next :meth:`check`, changed or not. Any thread may call this."""
        self._signature = ()

    def check(self) -> bool:
        """Check for clients that were added or revoked, and return whether any was revoked.

        Close the connections of revoked clients, if anything came over them.
        """
        now = time.monotonic()
        signature = self._keys.signature()
        changed = signature != self._signature
        if not changed and (self._second_check is None or now < self._second_check):
            return False
        self._second_check = now + SECOND_CHECK_S if changed else None
        self._signature = signature
        before = self._clients
        try:
            self._clients = self._keys.clients()
        except KeyFileError as error:
            if not self._failed:
                LOG.error("%s; the clients stay as they were", error)
            self._failed = True
            self._second_check = (
                now + SECOND_CHECK_S
            )  # until the keys can be read: the folder need not change again
            return False
        self._failed = False
        gone = [client.name for key, client in before.items() if key not in self._clients]
        come = [client.name for key, client in self._clients.items() if key not in before]
        for what, names in (("added", come), ("revoked", gone)):
            if names:
                LOG.info("clients %s: %s", what, ", ".join(names))
        if gone:
            for peer, connection in list(self._connections.items()):
                if not self.is_authorized(connection.user):
                    self._disconnect(peer)
        return bool(gone)

    def decide(self) -> None:
        """Authenticate some of the waiting connections."""
        for _ in range(DECISION_BURST):
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            _, number, _, address, _, mechanism, *credentials = request
            key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
            known = key in self._clients
            if not known:
                self._reject(address.decode("ascii", "replace"))
            verdict = (b"200", b"OK", key) if known else (b"400", b"unknown key", b"")
            self.socket.send_multipart([ZAP_VERSION, number, *verdict, b""])

    def admit(self, peer: bytes, part: zmq.Frame) -> bytes | None:
        """Return the key of the client that sent `part` over the connection `peer`; None: it gets no answer.

        The client of an accepted connection may have been revoked since.
        """
        user = str(part.get("User-Id")).encode()
        connection = self._connections.get(peer)
        descriptor = int(part.get(zmq.SRCFD))
        if connection is None or connection.socket.descriptor != descriptor:
            self._remember(peer, user, PeerSocket.under(part))
        if self.is_authorized(user):
            return user
        self._disconnect(peer)
        return None

    def is_authorized(self, user: bytes) -> bool:
        """Return whether the client with this key may be served."""
        return user in self._clients

    def close(self) -> None:
        """Stop authenticating; call this after the guarded sockets are closed."""
        self.socket.close()

    def _remember(self, peer: bytes, user: bytes, socket: PeerSocket | None) -> None:
        if socket is None:  # it is gone already
            return
        self._connections[peer] = _Connection(user, socket)
        if len(self._connections) > CONNECTIONS_REMEMBERED:
            self._connections.popitem(last=False)

    def _disconnect(self, peer: bytes) -> None:
        if connection := self._connections.pop(peer, None):
            connection.socket.hang_up()

    def _reject(self, address: str) -> None:
        self._rejected += 1
        now = time.monotonic()
        if now >= self._logged + LOG_INTERVAL_S:
            self._logged = now
            who = address or "this machine"
            LOG.warning("rejected a client at %s: its key is unknown (%d so far)", who, self._rejected)
