"""Limited warnings about received messages: a flood of bad ones costs a line a minute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger(__name__)
INTERVAL_S = 60.0
LONGEST_SHOWN = 100


class Complaints:
    """Log one warning of each kind in `interval_s`, and count the others. Thread-safe."""

    def __init__(self, interval_s: float = INTERVAL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}  # when a line of this kind is due
        self._silent: dict[str, int] = {}  # how many of a kind were not logged since the last line

    def warn(self, kind: str, text: str, error: BaseException | None = None) -> None:
        """Log `text`, with the traceback of `error`, unless there was a warning of this kind recently.

        :param kind: a constant, never received text.
        """
        now = self._clock()
        with self._lock:
            if now < self._next.get(kind, now):
                self._silent[kind] = self._silent.get(kind, 0) + 1
                return
            self._next[kind] = now + self._interval_s
            count = self._silent.pop(kind, 0)
        more = f" ({count} more like it were not logged)" if count else ""
        LOG.warning("mqtt: %s%s", text, more, exc_info=error)


def shown(text: str) -> str:
    """Return received text for a log line: printable, at most 100 characters."""
    cut = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    return "".join(each if each.isprintable() else "?" for each in cut)
