"""Send notifications to systemd: ready, status, watchdog (sd_notify).

The protocol is that of sd_notify(3): datagrams of ``KEY=value`` lines to the socket that ``$NOTIFY_SOCKET``
names. Without it, for example when started from a shell, nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

LOG = logging.getLogger(__name__)
EXTENSION_S = 60.0
"""While a model is being loaded, systemd is asked again and again to wait for this much longer ..."""
LONGEST_LOADING_S = 3600.0
"""... but not forever: a Raspberry Pi 3 fetches and prepares Inception-v3 well within an hour."""


class SystemdNotifier:
    """The notify socket. It never blocks; a message that cannot be sent is logged.

    :param environ: the environment with ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is an abstract name of Linux, without a file.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._status = ""
        self.watchdog_s = _watchdog_s(environ) if address else None
        """Systemd restarts a daemon that sends no sign of life for this time; None: the watchdog is off."""

    def ready(self) -> None:
        """Report that the Session is warm: ``systemctl start`` returns. This also ends :meth:`reloading`."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows; it is sent if it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def extend_timeout(self, seconds: float) -> None:
        """Ask systemd to wait for this much longer for the start or the end."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def extend_loading(self, started: float, now: float) -> None:
        """Ask systemd to wait on for a model that has been loading since `started` (monotonic)."""
        if now < started + LONGEST_LOADING_S:
            self.extend_timeout(EXTENSION_S)

    def watchdog(self) -> None:
        """Send a sign of life."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that the configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            LOG.warning("cannot send %s to systemd: %s", message.partition("=")[0], error.strerror)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    for_pid = environ.get("WATCHDOG_PID")
    if for_pid and for_pid != str(os.getpid()):
        return None  # inherited from the parent, for which it is meant
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else None
