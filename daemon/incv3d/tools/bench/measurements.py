"""Define the measurements of an engine, and the figures of the published table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The published table's figures of the measured runs; seconds."""

    warmup_runs: int
    runs: int
    best_s: float
    worst_s: float
    average_s: float
    median_s: float
    slowed_down: int = 0
    """Number of runs during which the machine was throttled or hot."""
    average_without_s: float | None = None
    """Average of the other runs; None if there are none, or no run was slowed down."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one engine, in its own process."""

    engine: str
    version: str
    import_s: float
    build_s: float
    first_result_s: float
    """From the start of the process to its first scores: Python, imports, build and first run."""
    decodes_in_graph: bool
    devices: tuple[str, ...]
    runs_s: tuple[float, ...]
    """All runs, warm-up runs first."""
    slowed_down: tuple[bool, ...]
    """For each run, whether the machine was throttled or hot."""
    scores: tuple[float, ...]
    peak_mb: float
    anonymous_mb: float
    """Memory that no file backs, MiB: the kernel cannot reclaim it."""

    @property
    def first_run_s(self) -> float:
        """The first run; a cold one, unless the engine makes a run while it loads."""
        return self.runs_s[0]

    def figures(self, warmup_runs: int, num_runs: int) -> Figures | None:
        """Return the figures of `num_runs` runs after `warmup_runs`; None if there are none."""
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
    """An engine that could not be measured, and why."""

    engine: str
    reason: str


def largest_difference(scores: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the largest difference of two score vectors; None if their lengths differ."""
    if not scores or len(scores) != len(others):
        return None
    return max(abs(a - b) for a, b in zip(scores, others, strict=True))
