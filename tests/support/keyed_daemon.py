"""A daemon that requires keys, and clients with and without them."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path

import zmq

from doubles import jpeg
from incv3d.client import Client
from incv3d.protocol.curve_keys import ClientKey
from incv3d.transports.zeromq.key_store import KeyStore
from processes import PATIENCE_S, ScriptedDaemon

PING = b'{"v":1,"op":"ping"}'


SILENCE_MS = 700
"""How long to listen for what is not to come; an answer takes a millisecond or two."""


class KeyedDoor:
    """A daemon that wants keys, on TCP, and its key ring."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", run_ms: int = 0) -> None:
        self.folder = folder
        self.ring = KeyStore(folder / "keys")
        self.ring.new()
        self.address, self.results = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        config = folder / "incv3d.yaml"
        config.write_text(f"intake: {{keys: {folder}/keys}}\ndaemon: {{log_level: debug}}\n")
        bind = {
            "INCV3D_BIND": self.address.replace("127.0.0.1", host),
            "INCV3D_PUBLISH": self.results.replace("127.0.0.1", host),
        }
        self.daemon = ScriptedDaemon(folder, folder, str(config), str(run_ms), **bind)

    def key(self, name: str) -> Path:
        """The file of a client that is let in from now on."""
        path = self.folder / f"{name}.key"
        self.ring.issue(name, path)
        return path


def free_port() -> int:
    """A port that the kernel does not give to connections of its own choice meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def assert_it_serves(door: KeyedDoor, key: Path) -> None:
    with Client(door.address, PATIENCE_S, key=key) as client:
        assert client.classify(jpeg()).status == "ok"


def wait_subscribed(door: KeyedDoor, subscriber: zmq.Socket[bytes], client: Client) -> None:
    """A subscription takes a moment to arrive: classify until a result does."""
    deadline = time.monotonic() + PATIENCE_S
    while not subscriber.poll(20):
        assert time.monotonic() < deadline, "no result was published"
        client.classify(jpeg())
    while subscriber.poll(50):
        subscriber.recv_multipart()


def ask_in_vain(dealer: zmq.Socket[bytes]) -> None:
    """A socket that was turned away has nowhere to put a message: to send would wait for ever."""
    with contextlib.suppress(zmq.Again):
        dealer.send(PING, zmq.NOBLOCK)


def write_key(path: Path, key: ClientKey) -> Path:
    path.write_text(
        f'server-key = "{key.server.decode()}"\npublic-key = "{key.pair.public.decode()}"\n'
        f'secret-key = "{key.pair.secret.decode()}"\n'
    )
    path.chmod(0o600)
    return path
