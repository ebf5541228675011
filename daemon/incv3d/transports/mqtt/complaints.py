"""Warnings about what others send, bounded: a flood of bad messages costs a line a minute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger(__name__)
EVERY_S = 60.0
LONGEST_SHOWN = 100


class Complaints:
    """Logs one warning of each kind in `every_s`, and counts the others. Threads may share one."""

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}  # when a line of this kind is due
        self._silent: dict[str, int] = {}  # how many of a kind were not logged since the last line

    def warn(self, kind: str, text: str, error: BaseException | None = None) -> None:
        """Log `text`, with the traceback of `error`, unless there was a warning of this kind lately.

        :param kind: a constant, never what others sent.
        """
        now = self._clock()
        with self._lock:
            if now < self._next.get(kind, now):
                self._silent[kind] = self._silent.get(kind, 0) + 1
                return
            self._next[kind] = now + self._every_s
            count = self._silent.pop(kind, 0)
        more = f" ({count} more like it were not logged)" if count else ""
        LOG.warning("mqtt: %s%s", text, more, exc_info=error)


def shown(text: str) -> str:
    """Return what somebody sent so that a log line can hold it: printable, at most 100 characters."""
    cut = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    return "".join(each if each.isprintable() else "?" for each in cut)
