"""What a latency log says of an hour or a day.

A line is about a window of time, and the windows of neighbouring lines overlap. So windows are chosen that
do not: with the default configuration they cover all the time and count each frame once. Best, worst and
average run are then exact (as far as the lines' own rounding goes); a percentile is not, because the runs
themselves are not in the log. It is estimated from the mixture of the windows' distributions, each taken as
straight between its best, p50, p95, p99 and worst, and given with the bounds that it lies within for certain:
a percentile of all runs together is no lower than the lowest and no higher than the highest of the parts'.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from incv3d.latency.log_reader import LogEntry, Start, Window
from incv3d.latency.rolling import Spread

ROUNDING_S = 1.5
"""Timestamps are cut to seconds: windows that overlap by so little are taken for neighbours."""
HALVINGS = 40
"""Enough to find a run time among any to a millionth of a millisecond."""
LEVELS = (0.0, 0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A percentile that could only be estimated, and what it lies between for certain."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class Runs:
    """How the run times of a period were spread."""

    best_ms: float
    avg_ms: float
    p50: Estimate
    p95: Estimate
    p99: Estimate
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Period:
    """What the lines of one period say."""

    begin_s: float
    """Seconds since 1970; of a calendar hour or day, else of the first line."""
    end_s: float
    covered_s: float
    """The time that the counts are about: that of windows that do not overlap."""
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
    """Every bit of ``get_throttled`` that any line has."""
    rss_max_mb: float | None
    starts: int
    reloads: int
    """How often it went on with another model."""


def whole(entries: Sequence[LogEntry]) -> Period:
    """Everything from the first entry to the last as one period. There must be one."""
    first = entries[0]
    begin_s = first.at_s - first.window_s if isinstance(first, Window) else first.at_s
    return _period(entries, _without_overlap(entries), begin_s, max(entry.at_s for entry in entries))


def by_length(entries: Sequence[LogEntry], length_s: float) -> list[Period]:
    """A period for every calendar stretch of `length_s` (UTC) with an entry in it, in order of time.

    A window that reaches over the border belongs to where its middle is.
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


def mixed_percentile(parts: Sequence[tuple[int, Spread]], percent: float) -> Estimate:
    """The `percent`-th percentile of runs of which only each part's number and spread are known."""
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
    # Rounding must not put the estimate outside of what is certain.
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
    """Windows that do not overlap, chosen from the last back: so they end with everything counted."""
    chosen: list[Window] = []
    begin_s = later_s = math.inf
    for entry in reversed(list(entries)):
        # A start ends the daemon before it; and where the clock was set back, time begins anew.
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
        reloads=sum(isinstance(entry, Start) and entry.event == "reload" for entry in entries),
    )


def _runs(chosen: Sequence[Window]) -> Runs | None:
    parts = [(window.frames, window.run) for window in chosen if window.run]
    if not parts:
        return None
    frames = sum(count for count, _ in parts)
    return Runs(
        best_ms=min(run.best_ms for _, run in parts),
        avg_ms=math.fsum(count * run.avg_ms for count, run in parts) / frames,
        p50=mixed_percentile(parts, 50),
        p95=mixed_percentile(parts, 95),
        p99=mixed_percentile(parts, 99),
        worst_ms=max(run.worst_ms for _, run in parts),
    )


def _highest(windows: Iterable[Window], value: Callable[[Window], float | None]) -> float | None:
    return max((found for window in windows if (found := value(window)) is not None), default=None)
