"""What was measured of one engine, and the figures that the published table has."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of the runs that count; seconds."""

    warmup_runs: int
    runs: int
    best_s: float
    worst_s: float
    average_s: float
    median_s: float
    slowed_down: int = 0
    """How many of the runs were made while the machine was throttled or hot."""
    average_without_s: float | None = None
    """The average of the others; None when there are none, or no run is marked."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One engine in one process of its own."""

    engine: str
    version: str
    import_s: float
    build_s: float
    first_result_s: float
    """From the start of the process to its first scores: Python, imports, build and the first run."""
    decodes_in_graph: bool
    devices: tuple[str, ...]
    runs_s: tuple[float, ...]
    """Every run, the warm-up first."""
    slowed_down: tuple[bool, ...]
    """For every run, whether the machine was throttled or hot."""
    scores: tuple[float, ...]
    peak_mb: float
    anonymous_mb: float
    """MiB that no file holds: the kernel cannot take them back."""

    @property
    def first_run_s(self) -> float:
        """The first run, cold for an engine that runs nothing while it loads."""
        return self.runs_s[0]

    def figures(self, warmup_runs: int, num_runs: int) -> Figures | None:
        """The figures of `num_runs` runs after `warmup_runs`; None: none of them was made."""
        counted = slice(warmup_runs, warmup_runs + num_runs)
        runs, marked = self.runs_s[counted], self.slowed_down[counted]
        if not runs:
            return None
        cool = [run for run, hot in zip(runs, marked, strict=True) if not hot]
        return Figures(
            warmup_runs=warmup_runs,
            runs=len(runs),
            best_s=min(runs),
            worst_s=max(runs),
            average_s=statistics.fmean(runs),
            median_s=statistics.median(runs),
            slowed_down=sum(marked),
            average_without_s=statistics.fmean(cool) if cool and any(marked) else None,
        )


class Unavailable(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that was asked for and not measured, and why."""

    engine: str
    reason: str


def largest_difference(scores: Sequence[float], others: Sequence[float]) -> float | None:
    """The largest difference of two score vectors; None when they are not of one length."""
    if not scores or len(scores) != len(others):
        return None
    return max(abs(a - b) for a, b in zip(scores, others, strict=True))
