"""A notify socket as systemd has one, for the daemon to speak to."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from processes import PATIENCE_S


class NotifySocket:
    """Receives what a daemon tells systemd.

    :param address: a path, or an abstract name that begins with ``@``.
    :param patience_s: how long to wait for a message.
    """

    def __init__(self, address: str | Path, patience_s: float = PATIENCE_S) -> None:
        self.address = str(address)
        self._patience_s = patience_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self.heard: list[str] = []
        """Every message so far."""

    def next(self) -> str:
        """The next message."""
        self._socket.settimeout(self._patience_s)
        self.heard.append(self._socket.recv(65536).decode())
        return self.heard[-1]

    def wait_for(self, words: str) -> str:
        """The next message with `words` in it."""
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            if words in (message := self.next()):
                return message
        raise AssertionError(f"nobody said {words!r}; said was {self.heard}")

    def rest(self) -> list[str]:
        """The messages that have come since."""
        self._socket.setblocking(False)
        rest = []
        try:
            while True:
                rest.append(self._socket.recv(65536).decode())
        except BlockingIOError:
            return rest

    def close(self) -> None:
        self._socket.close()
