"""What each thread is at, and since when: for a main thread that looks out for one that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from incv3d.threads import Activity


@dataclass(frozen=True, slots=True)
class Stall:
    """A thread has been at one piece of work for too long."""

    work: Activity
    for_s: float


@dataclass(slots=True)
class _Seen:
    begun: int = 0
    for_s: float = 0.0


class StallDetector:
    """Finds threads that hang in one piece of work, looking every now and then.

    Time counts only as far as it was looked at: a process that was stopped, or a machine that slept, finds
    its threads where it left them, which is no fault of theirs.

    :param limit_s: how long one piece of work may take; 0: for ever.
    """

    def __init__(
        self, works: Sequence[Activity], limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seen = [(work, _Seen()) for work in works]
        self._limit_s = limit_s
        self._clock = clock
        self._looked = clock()
        self.worry: Stall | None = None
        """A thread that has been at one piece of work for half as long as it may."""
        self.interval_s = min(1.0, limit_s / 4) if limit_s else 1.0
        """How often to look."""

    def look(self) -> Stall | None:
        """A thread that is over the limit, or None."""
        now = self._clock()
        passed_s = min(now - self._looked, 2 * self.interval_s)
        self._looked = now
        self.worry = None
        for work, seen in self._seen:
            if not work.busy or work.begun != seen.begun:
                seen.begun, seen.for_s = work.begun, 0.0
                continue
            seen.for_s += passed_s
            if self._limit_s and seen.for_s >= self._limit_s / 2:
                self.worry = Stall(work, seen.for_s)
                if seen.for_s >= self._limit_s:
                    return self.worry
        return None
