"""Rolling statistics of the latest frames: windows by count and by time, percentiles. No I/O."""

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
"""Runs that an estimate of the next one is made from."""
DROPPED = "dropped"
"""The outcome of a camera's frame that a newer one replaced before it was taken."""
SKIPPED = "skipped"
"""The outcome of a camera's frame in which nothing had changed."""

OUTCOMES = ("ok", *(refusal.value for refusal in Refusal), DROPPED, SKIPPED)
"""Everything that can become of a frame."""
BAD = (Refusal.BAD_IMAGE, Refusal.BAD_REQUEST, Refusal.TOO_LARGE, Refusal.INTERNAL)
"""The refusals that count as errors: something is wrong with the frame or with the daemon."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How one duration was spread over the window; milliseconds."""

    best_ms: float
    avg_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The window's statistics; a spread is None while there is no frame in the window."""

    window_s: float
    """What the window covers: shorter than configured after a start, or when many frames came."""
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
    """The `percent`-th percentile of ascending `ordered`, interpolated linearly between ranks.

    The same as NumPy's default: rank ``(n - 1) * percent / 100``, counted from 0 (Hyndman and Fan's
    definition 7).
    """
    rank = (len(ordered) - 1) * percent / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def spread(values: Sequence[float]) -> Spread | None:
    """The :class:`Spread` of `values`; None when there are none."""
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
    """Counts what becomes of the frames; callable from any thread."""

    def record(self, now: float, timings: Timings) -> None:
        """A frame was classified at `now` (monotonic)."""

    def count(self, now: float, outcome: str) -> None:
        """A frame met with `outcome`, one of :data:`OUTCOMES`, at `now` (monotonic)."""


class RollingLatency:
    """The latest frames' timings and the latest outcomes. Threads may share one.

    :param window_s: frames older than this leave the window.
    :param window_frames: the window holds at most this many frames.
    :param started: the moment (monotonic) at which counting begins.
    """

    def __init__(self, window_s: float, window_frames: int, started: float) -> None:
        self._window_s = window_s
        self._started = started
        self._frames: deque[tuple[float, Timings]] = deque(maxlen=window_frames)
        self._by_second: deque[tuple[int, Counter[str]]] = deque()
        self._totals: Counter[str] = Counter()
        self._lock = threading.Lock()

    def record(self, now: float, timings: Timings) -> None:
        """A frame was classified at `now` (monotonic)."""
        with self._lock:
            self._frames.append((now, timings))
            self._totals["ok"] += 1

    def count(self, now: float, outcome: str) -> None:
        """A frame met with `outcome` at `now` (monotonic): a :class:`Refusal`, or one of those named here."""
        second = int(now)
        with self._lock:
            # One counter a second keeps a flood of refusals from filling the memory.
            if not self._by_second or self._by_second[-1][0] != second:
                self._forget(now)
                self._by_second.append((second, Counter()))
            self._by_second[-1][1][outcome] += 1
            self._totals[outcome] += 1

    def resize(self, window_s: float, window_frames: int) -> None:
        """Let the window be another one from now on; of what it holds, what fits is kept."""
        with self._lock:
            self._window_s = window_s
            self._frames = deque(self._frames, maxlen=window_frames)

    def restart(self, now: float) -> None:
        """Begin an empty window at `now` (monotonic): what follows is another model's. Totals go on."""
        with self._lock:
            self._started = now
            self._frames.clear()
            self._by_second.clear()

    def totals(self) -> dict[str, int]:
        """Frames since the start by outcome: ``ok``, every refusal, ``dropped``, ``skipped``."""
        with self._lock:
            return {outcome: self._totals[outcome] for outcome in OUTCOMES}

    def latest_run_ms(self) -> float | None:
        """The median of the latest few runs, whatever the window; None while nothing has run."""
        with self._lock:
            latest = itertools.islice(reversed(self._frames), LATEST_RUNS)
            runs = sorted(timings.run_ms for _, timings in latest)
        return percentile(runs, 50) if runs else None

    def summary(self, now: float) -> Summary:
        """What the window says at `now` (monotonic)."""
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
