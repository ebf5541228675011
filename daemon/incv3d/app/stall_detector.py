"""Detect worker threads that hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from incv3d.threads import Activity


@dataclass(frozen=True, slots=True)
class Stall:
    """A thread has been busy with one piece of work for too long."""

    activity: Activity
    for_s: float


@dataclass(slots=True)
class _Observation:
    begun: int = 0
    for_s: float = 0.0


class StallDetector:
    """Find threads that hang in one piece of work; call :meth:`check` regularly.

    Only the time between two checks counts, and not much of it: after a process was stopped, or a machine
    slept, its threads are where they were, and do not hang.

    :param limit_s: how long one piece of work may take; 0: forever.
    """

    def __init__(
        self, activities: Sequence[Activity], limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._observations = [(activity, _Observation()) for activity in activities]
        self._limit_s = limit_s
        self._clock = clock
        self._checked = clock()
        self.warning: Stall | None = None
        """A thread that has been busy with one piece of work for half of the limit."""
        self.interval_s = min(1.0, limit_s / 4) if limit_s else 1.0
        """How often to check."""

    def check(self) -> Stall | None:
        """Return a thread that is over the limit; None: there is none."""
        now = self._clock()
        passed_s = min(now - self._checked, 2 * self.interval_s)
        self._checked = now
        self.warning = None
        for activity, seen in self._observations:
            if not activity.busy or activity.begun != seen.begun:
                seen.begun, seen.for_s = activity.begun, 0.0
                continue
            seen.for_s += passed_s
            if self._limit_s and seen.for_s >= self._limit_s / 2:
                self.warning = Stall(activity, seen.for_s)
                if seen.for_s >= self._limit_s:
                    return self.warning
        return None
