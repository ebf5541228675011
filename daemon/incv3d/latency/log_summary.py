"""Summarize a latency log by hour or day.

A line describes a window of time, and the windows of neighboring lines overlap. So non-overlapping windows
are chosen: with the default configuration they cover all time and count each frame once. Best, worst and
average run are then exact (apart from the lines' rounding). Percentiles are not, because the log does not
have the runs themselves. They are estimated from the mixture of the windows' distributions, each interpolated
linearly between its best, p50, p95, p99 and worst, and given with certain bounds: a percentile of all runs is
not lower than the lowest, nor higher than the highest, of the parts' percentiles.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from incv3d.latency.log_reader import LogEntry, Start, Window
from incv3d.latency.rolling import Spread

ROUNDING_S = 1.5
"""Timestamps are truncated to seconds: windows that overlap by up to this much count as adjacent."""
HALVINGS = 40
"""Enough bisections to find any run time to a millionth of a millisecond."""
LEVELS = (0.0, 0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated percentile with its certain bounds."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class Runs:
    """The distribution of run times in a period."""

    best_ms: float
    avg_ms: float
    p50: Estimate
    p95: Estimate
    p99: Estimate
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Period:
    """The statistics of one period."""

    begin_s: float
    """Seconds since 1970: the start of a calendar hour or day, else of the first line."""
    end_s: float
    covered_s: float
    """The time covered by the counts: that of the non-overlapping windows."""
    frames: int
    fps: float
    run: Runs | None
    dropped: int
    busy: int
    expired: int
    errors: int
    skipped: int
    temp_max_c: float | None
    throttled: int | None
    """All bits of ``get_throttled`` set in any line."""
    rss_max_mb: float | None
    starts: int
    reloads: int
    """Number of switches to another model."""


def summarize(entries: Sequence[LogEntry]) -> Period:
    """Summarize all entries as one period. There must be at least one."""
    first = entries[0]
    begin_s = first.at_s - first.window_s if isinstance(first, Window) else first.at_s
    return _period(entries, _without_overlap(entries), begin_s, max(entry.at_s for entry in entries))


def summarize_by_length(entries: Sequence[LogEntry], length_s: float) -> list[Period]:
    """Return a period for every calendar interval of `length_s` (UTC) with an entry in it, in order.

    A window that crosses a border belongs to the interval of its middle.
    """
    chosen = _without_overlap(entries)

    def stretch(entry: LogEntry) -> int:
        middle_s = entry.at_s - entry.window_s / 2 if isinstance(entry, Window) else entry.at_s
        return math.floor(middle_s / length_s)

    return [
        _period(
            [entry for entry in entries if stretch(entry) == number],
            [window for window in chosen if stretch(window) == number],
            number * length_s,
            (number + 1) * length_s,
        )
        for number in sorted({stretch(entry) for entry in entries})
    ]


def estimate_percentile(parts: Sequence[tuple[int, Spread]], percent: float) -> Estimate:
    """Estimate the `percent`-th percentile of runs, given each part's number and spread."""
    knots = [(count, (s.best_ms, s.p50_ms, s.p95_ms, s.p99_ms, s.worst_ms)) for count, s in parts]
    wanted = sum(count for count, _ in knots) * percent / 100
    low, high = min(k[0] for _, k in knots), max(k[-1] for _, k in knots)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if sum(count * _share_below(k, middle) for count, k in knots) < wanted:
            low = middle
        else:
            high = middle
    own = [_quantile(k, percent / 100) for _, k in knots]
    # Rounding must not put the estimate outside its bounds.
    return Estimate(min(max(high, min(own)), max(own)), min(own), max(own))


def _share_below(knots: Sequence[float], ms: float) -> float:
    place = bisect_right(knots, ms)
    if place == 0:
        return 0.0
    if place == len(knots):
        return 1.0
    left, right = knots[place - 1], knots[place]
    return LEVELS[place - 1] + (LEVELS[place] - LEVELS[place - 1]) * (ms - left) / (right - left)


def _quantile(knots: Sequence[float], level: float) -> float:
    return knots[LEVELS.index(level)]


def _without_overlap(entries: Iterable[LogEntry]) -> list[Window]:
    """Return non-overlapping windows, chosen backwards from the last, so that they cover the end."""
    chosen: list[Window] = []
    begin_s = later_s = math.inf
    for entry in reversed(list(entries)):
        # A start ends the previous daemon, and if the clock was set back, time starts again.
        if isinstance(entry, Start) or entry.at_s > later_s:
            begin_s = math.inf
        later_s = entry.at_s
        if isinstance(entry, Window) and entry.at_s <= begin_s + ROUNDING_S:
            chosen.append(entry)
            begin_s = entry.at_s - entry.window_s
    return chosen[::-1]


def _period(entries: Sequence[LogEntry], chosen: Sequence[Window], begin_s: float, end_s: float) -> Period:
    windows = [entry for entry in entries if isinstance(entry, Window)]
    covered_s = math.fsum(window.window_s for window in chosen)
    frames = sum(window.frames for window in chosen)
    bits = [window.throttled for window in windows if window.throttled is not None]
    throttled = None
    for each in bits:
        throttled = (throttled or 0) | each
    return Period(
        begin_s=begin_s,
        end_s=end_s,
        covered_s=covered_s,
        frames=frames,
        fps=frames / covered_s if covered_s else 0.0,
        run=_runs(chosen),
        dropped=sum(window.dropped for window in chosen),
        busy=sum(window.busy for window in chosen),
        expired=sum(window.expired for window in chosen),
        errors=sum(window.errors for window in chosen),
        skipped=sum(window.skipped for window in chosen),
        temp_max_c=_highest(windows, lambda window: window.temp_c),
        throttled=throttled,
        rss_max_mb=_highest(windows, lambda window: window.rss_mb),
        starts=sum(isinstance(entry, Start) and entry.event == "start" for entry in entries),
        reloads=sum(isinstance(entry, Start) and entry.event in ("reload", "tuned") for entry in entries),
    )


def _runs(chosen: Sequence[Window]) -> Runs | None:
    parts = [(window.frames, window.run) for window in chosen if window.run]
    if not parts:
        return None
    frames = sum(count for count, _ in parts)
    return Runs(
        best_ms=min(run.best_ms for _, run in parts),
        avg_ms=math.fsum(count * run.avg_ms for count, run in parts) / frames,
        p50=estimate_percentile(parts, 50),
        p95=estimate_percentile(parts, 95),
        p99=estimate_percentile(parts, 99),
        worst_ms=max(run.worst_ms for _, run in parts),
    )


def _highest(windows: Iterable[Window], value: Callable[[Window], float | None]) -> float | None:
    return max((found for window in windows if (found := value(window)) is not None), default=None)
