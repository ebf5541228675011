"""Logging: its level, and the format of systemd's journal, with priorities and without timestamps."""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Mapping

PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""The priority of syslog(3) from each level on; below, it is 7, debugging."""
DEBUG_PRIORITY = 7


def set_level(level: str) -> None:
    """Set the level of incv3d's own log, as ``daemon.log_level`` names it.

    Libraries log only warnings and errors: at other levels they repeat whole addresses, with the passwords
    in them. Urllib3 does so in its warnings, too.
    """
    logging.getLogger("incv3d").setLevel(level.upper())
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Return whether `descriptor` leads to the journal.

    ``$JOURNAL_STREAM`` names the device and inode of the stream that systemd provided (systemd.exec(5)); a
    program whose output was redirected later has the same variable, but another stream.
    """
    status = os.fstat(descriptor)
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalFormatter(logging.Formatter):
    """Format ``<4>message``: sd-daemon(3) calls this a prefix. Each line of a traceback has its own."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's message, with a prefix before every line."""
        priority = next((each for level, each in PRIORITIES if record.levelno >= level), DEBUG_PRIORITY)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines() or [""])


def set_up_logging(level: str) -> None:
    """Log to standard error, one line per entry; for the journal, with a priority prefix."""
    # Duplicated, because file descriptor 2 itself is silenced while a library loads.
    stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JournalFormatter()
        if is_journal(stream.fileno(), os.environ)
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(handlers=[handler])
    set_level(level)
    # systemd ends a daemon that hangs with SIGABRT; then dump the stacks of its threads.
    faulthandler.enable(stream)
