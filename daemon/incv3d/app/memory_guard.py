"""Looks at the memory that the process has for itself: does it grow, and is it time to start anew?

Nothing here is known to leak, but a camera's driver may, or a library in some of its versions, by a little an
hour. In months that is all the memory, and the kernel then kills what it likes, in the middle of a frame.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE_S = 30.0
"""A large picture takes much memory for a moment; only for so long over the limit is it a leak."""
LEAST_WINDOWS = 6
"""From so many windows on a slope is given."""
SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """What there is to be said; nothing, most of the time."""

    over_limit: bool = False
    """Whether to drain and start anew."""
    warning: str = ""
    """That the memory grows, and until when that is well; said once in a while."""


class MemoryGuard:
    """Looks every now and then; the level decides, the slope only warns ahead of it.

    The slope is of the least memory in each window, which pictures in flight do not move, and is the median
    of the slopes between any two windows (Theil and Sen), which a step, such as another model, moves little.

    :param limit_mb: private memory, MiB, at which to start anew; None: it cannot be told, and never is.
    :param look_mb: what the process has for itself now, MiB; None: it cannot be told.
    :param window_s: one minimum is kept of so many seconds.
    :param windows: minima kept; with windows of half an hour, two days.
    """

    def __init__(
        self,
        limit_mb: float | None,
        look_mb: Callable[[], float | None],
        window_s: float = 1800.0,
        windows: int = 96,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_mb = limit_mb
        self._look_mb = look_mb
        self._window_s = window_s
        self._clock = clock
        self._minima: deque[tuple[float, float]] = deque(maxlen=windows)
        self._window_ends = clock() + window_s
        self._least_mb = math.inf
        self._over_since: float | None = None
        self._warn_from = 0.0
        self.private_mb: float | None = None
        """What was seen last."""

    def look(self) -> MemoryCheck:
        """Look now."""
        self.private_mb = private_mb = self._look_mb()
        if private_mb is None or self.limit_mb is None:
            return MemoryCheck()
        now = self._clock()
        self._least_mb = min(self._least_mb, private_mb)
        if private_mb < self.limit_mb:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        elif now - self._over_since >= PATIENCE_S:
            return MemoryCheck(over_limit=True)
        if now < self._window_ends:
            return MemoryCheck()
        self._minima.append((now, self._least_mb))
        self._window_ends, self._least_mb = now + self._window_s, math.inf
        return MemoryCheck(warning=self._warning(now, private_mb, self.limit_mb))

    @property
    def mb_an_hour(self) -> float | None:
        """How fast it grows; None until that can be told."""
        if len(self._minima) < LEAST_WINDOWS:
            return None
        pairs = itertools.combinations(self._minima, 2)
        return statistics.median((b - a) / (then - at) for (at, a), (then, b) in pairs) * SECONDS_AN_HOUR

    def _warning(self, now: float, private_mb: float, limit_mb: float) -> str:
        """Said when what the windows saw, gone on with for as long again, would end over the limit."""
        slope = self.mb_an_hour
        if slope is None or slope <= 0 or now < self._warn_from:
            return ""
        left_h = (limit_mb - private_mb) / slope
        seen_h = (now - self._minima[0][0]) / SECONDS_AN_HOUR
        if left_h > seen_h:
            return ""
        self._warn_from = now + len(self._minima) * self._window_s
        return (
            f"its memory grows by {slope:.1f} MB an hour: {private_mb:.0f} MB now, and in {left_h:.0f} hours "
            f"the {limit_mb:.0f} MB at which it starts anew (daemon.memory_limit_mb)"
        )
