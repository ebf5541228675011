"""What the daemon tells systemd: that it is ready, how it is doing, and that it is alive.

The protocol is that of sd_notify(3): datagrams of ``KEY=value`` lines to the socket that ``$NOTIFY_SOCKET``
names. Without it, started from a shell, nobody is told anything.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

LOG = logging.getLogger(__name__)


class SystemdNotifier:
    """The notify socket. It never blocks, and a message that cannot be sent costs a line in the log.

    :param environ: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked up.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is one of Linux's abstract names, without a file.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._status = ""
        self.watchdog_s = _watchdog_s(environ) if address else None
        """systemd restarts the daemon that it does not hear from for so long; None: it does not care."""

    def ready(self) -> None:
        """The Session is warm: ``systemctl start`` returns. Also ends :meth:`reloading`."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """The line that ``systemctl status`` shows; sent when it is another one than before."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def extend_timeout(self, seconds: float) -> None:
        """Starting, or stopping, goes on: systemd is to wait for so much longer from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def watchdog(self) -> None:
        """The daemon is alive."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The daemon ends."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            LOG.warning("systemd cannot be told %s: %s", message.partition("=")[0], error.strerror)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    for_pid = environ.get("WATCHDOG_PID")
    if for_pid and for_pid != str(os.getpid()):
        return None  # inherited from a parent that is meant
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else None
