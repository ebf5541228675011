"""Keep rolling statistics of the latest frames: windows by count and by time, percentiles. No I/O."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from incv3d.frames import Refusal, Timings

LATEST_RUNS = 15
"""Number of runs used to estimate the next one."""
DROPPED = "dropped"
"""The outcome of a camera frame that a newer one replaced in the queue."""
SKIPPED = "skipped"
"""The outcome of a camera frame in which nothing had changed."""

OUTCOMES = ("ok", *(refusal.value for refusal in Refusal), DROPPED, SKIPPED)
"""All possible outcomes of a frame."""
BAD = (Refusal.BAD_IMAGE, Refusal.BAD_REQUEST, Refusal.TOO_LARGE, Refusal.INTERNAL)
"""The refusals that count as errors: something is wrong with the frame or with the daemon."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a duration in the window; milliseconds."""

    best_ms: float
    avg_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The statistics of the window; a spread is None if there are no frames in the window."""

    window_s: float
    """The time covered by the window: shorter than configured after a start, or with many frames."""
    frames: int
    fps: float
    run: Spread | None
    queue: Spread | None
    decode: Spread | None
    total: Spread | None
    age: Spread | None
    dropped: int
    busy: int
    expired: int
    errors: int
    skipped: int


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the `percent`-th percentile of `ordered`, which is ascending, interpolated linearly.

    The same as NumPy's default: rank ``(n - 1) * percent / 100``, counted from 0 (Hyndman and Fan's
    definition 7).
    """
    rank = (len(ordered) - 1) * percent / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def spread(values: Sequence[float]) -> Spread | None:
    """Return the :class:`Spread` of `values`, or None if there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return Spread(
        best_ms=ordered[0],
        avg_ms=math.fsum(ordered) / len(ordered),
        p50_ms=percentile(ordered, 50),
        p95_ms=percentile(ordered, 95),
        p99_ms=percentile(ordered, 99),
        worst_ms=ordered[-1],
    )


class FrameCounter(Protocol):
    """Counts the outcomes of frames. Thread-safe."""

    def record(self, now: float, timings: Timings) -> None:
        """Record a frame that was classified at `now` (monotonic)."""

    def count(self, now: float, outcome: str) -> None:
        """Count a frame with `outcome`, one of :data:`OUTCOMES`, at `now` (monotonic)."""


class RollingLatency:
    """The timings and outcomes of the latest frames. Thread-safe.

    :param window_s: frames older than this leave the window.
    :param window_frames: maximum number of frames in the window.
    :param started: start of counting (monotonic).
    """

    def __init__(self, window_s: float, window_frames: int, started: float) -> None:
        self._window_s = window_s
        self._started = started
        self._frames: deque[tuple[float, Timings]] = deque(maxlen=window_frames)
        self._by_second: deque[tuple[int, Counter[str]]] = deque()
        self._totals: Counter[str] = Counter()
        self._lock = threading.Lock()

    def record(self, now: float, timings: Timings) -> None:
        """Record a frame that was classified at `now` (monotonic)."""
        with self._lock:
            self._frames.append((now, timings))
            self._totals["ok"] += 1

    def count(self, now: float, outcome: str) -> None:
        """Count a frame with `outcome` at `now` (monotonic): a :class:`Refusal`, or a constant of this
        module."""
        second = int(now)
        with self._lock:
            # One counter per second bounds memory during a flood of refusals.
            if not self._by_second or self._by_second[-1][0] != second:
                self._forget(now)
                self._by_second.append((second, Counter()))
            self._by_second[-1][1][outcome] += 1
            self._totals[outcome] += 1

    def resize(self, window_s: float, window_frames: int) -> None:
        """Change the size of the window, keeping the frames that fit."""
        with self._lock:
            self._window_s = window_s
            self._frames = deque(self._frames, maxlen=window_frames)

    def restart(self, now: float) -> None:
        """Empty the window at `now` (monotonic) for another model. Totals continue."""
        with self._lock:
            self._started = now
            self._frames.clear()
            self._by_second.clear()

    def totals(self) -> dict[str, int]:
        """Return the number of frames since the start by outcome: ``ok``, every refusal, ``dropped``,
        ``skipped``."""
        with self._lock:
            return {outcome: self._totals[outcome] for outcome in OUTCOMES}

    def latest_run_ms(self) -> float | None:
        """Return the median of the latest runs, regardless of the window; None before the first run."""
        with self._lock:
            latest = itertools.islice(reversed(self._frames), LATEST_RUNS)
            runs = sorted(timings.run_ms for _, timings in latest)
        return percentile(runs, 50) if runs else None

    def summary(self, now: float) -> Summary:
        """Return the statistics of the window at `now` (monotonic)."""
        with self._lock:
            self._forget(now)
            frames = [timings for _, timings in self._frames]
            covered_s = min(self._window_s, now - self._started)
            if len(frames) == self._frames.maxlen:
                covered_s = min(covered_s, now - self._frames[0][0])
            outcomes: Counter[str] = Counter()
            for second, counted in self._by_second:
                if second >= int(now - covered_s):
                    outcomes.update(counted)
        return Summary(
            window_s=covered_s,
            frames=len(frames),
            fps=len(frames) / covered_s if covered_s > 0 else 0.0,
            run=spread([t.run_ms for t in frames]),
            queue=spread([t.queue_ms for t in frames]),
            decode=spread([t.decode_ms for t in frames]),
            total=spread([t.total_ms for t in frames]),
            age=spread([t.age_ms for t in frames]),
            dropped=outcomes[DROPPED],
            busy=outcomes[Refusal.BUSY.value],
            expired=outcomes[Refusal.EXPIRED.value],
            errors=sum(outcomes[refusal.value] for refusal in BAD),
            skipped=outcomes[SKIPPED],
        )

    def _forget(self, now: float) -> None:
        oldest = now - self._window_s
        while self._frames and self._frames[0][0] < oldest:
            self._frames.popleft()
        while self._by_second and self._by_second[0][0] < int(oldest):
            self._by_second.popleft()
