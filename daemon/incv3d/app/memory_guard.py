"""Detect memory growth and the configured memory limit.

Nothing here is known to leak, but a camera's driver may, or some version of a library, by a little per hour.
After months all memory is used, and the kernel kills some process, in the middle of a frame.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

LEAK_AFTER_S = 30.0
"""A large image takes much memory for a moment; only after this time over the limit is it a leak."""
LEAST_WINDOWS = 6
"""The slope is known from this number of windows on."""
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """The result of a check."""

    over_limit: bool = False
    """Whether the daemon must drain and restart."""
    warning: str = ""
    """That the memory grows, and how long it will last; empty most of the time."""


class MemoryGuard:
    """Check the memory regularly: the level decides, the slope only warns in advance.

    The slope is that of the least memory in each window, which images in flight do not change: the median of
    the slopes between any two windows (Theil-Sen), which a step, such as another model, changes little.

    :param limit_mb: private memory, MiB, at which to restart; None: there is no limit.
    :param read_mb: returns the private memory of the process, MiB; None: it is unknown.
    :param window_s: the length of a window, of which the minimum is kept.
    :param windows: how many minima to keep; with windows of half an hour, two days.
    """

    def __init__(
        self,
        limit_mb: float | None,
        read_mb: Callable[[], float | None],
        window_s: float = 1800.0,
        windows: int = 96,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_mb = limit_mb
        self._read_mb = read_mb
        self._window_s = window_s
        self._clock = clock
        self._minima: deque[tuple[float, float]] = deque(maxlen=windows)
        self._window_ends = clock() + window_s
        self._least_mb = math.inf
        self._over_since: float | None = None
        self._warn_from = 0.0
        self.private_mb: float | None = None
        """The private memory at the last check, MiB."""

    def check(self) -> MemoryCheck:
        """Check now."""
        self.private_mb = private_mb = self._read_mb()
        if private_mb is None or self.limit_mb is None:
            return MemoryCheck()
        now = self._clock()
        self._least_mb = min(self._least_mb, private_mb)
        if private_mb < self.limit_mb:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        elif now - self._over_since >= LEAK_AFTER_S:
            return MemoryCheck(over_limit=True)
        if now < self._window_ends:
            return MemoryCheck()
        self._minima.append((now, self._least_mb))
        self._window_ends, self._least_mb = now + self._window_s, math.inf
        return MemoryCheck(warning=self._warning(now, private_mb, self.limit_mb))

    @property
    def mb_per_hour(self) -> float | None:
        """Return how fast the memory grows; None until that is known."""
        if len(self._minima) < LEAST_WINDOWS:
            return None
        pairs = itertools.combinations(self._minima, 2)
        return statistics.median((b - a) / (then - at) for (at, a), (then, b) in pairs) * SECONDS_PER_HOUR

    def _warning(self, now: float, private_mb: float, limit_mb: float) -> str:
        """Return a warning if the same growth, for as long again, would exceed the limit; otherwise ""."""
        slope = self.mb_per_hour
        if slope is None or slope <= 0 or now < self._warn_from:
            return ""
        left_h = (limit_mb - private_mb) / slope
        seen_h = (now - self._minima[0][0]) / SECONDS_PER_HOUR
        if left_h > seen_h:
            return ""
        self._warn_from = now + len(self._minima) * self._window_s
        return (
            f"its memory grows by {slope:.1f} MB per hour: {private_mb:.0f} MB now, and in {left_h:.0f} "
            f"hours the {limit_mb:.0f} MB at which it restarts (daemon.memory_limit_mb)"
        )
