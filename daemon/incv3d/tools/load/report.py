"""Summarize the outcomes of a load test: counts, throughput, percentiles by outcome."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from incv3d.latency.rolling import percentile
from incv3d.tools.load.sender import SendResult

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "p99_9_ms": 99.9}

Milliseconds = dict[str, float]
"""``best_ms``, ``avg_ms``, the percentiles with enough samples, ``worst_ms``."""


@dataclass(frozen=True, slots=True)
class OutcomeStatistics:
    """The number and round trips of one kind of outcome; lost slots have no round trip."""

    count: int
    round_trip: Milliseconds | None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The statistics of a whole load test."""

    sent: int
    elapsed_s: float
    ok_per_s: float
    lost_slots: int
    """Open loop: images that were due while too many were in flight, or this machine was too slow."""
    unfinished: int
    """Images in flight when the run was interrupted."""
    duplicates: int
    """Second answers to the same image: a fleet may give them if a daemon dies or is slow."""
    outcomes: dict[str, OutcomeStatistics]
    daemon: dict[str, Milliseconds]
    """The daemon's times for ``ok`` answers: ``queue``, ``decode``, ``run``."""
    beyond_run: Milliseconds | None
    """Round trips of ``ok`` answers minus the daemon's decode and run: waiting and transport."""
    answered_by: dict[str, int]
    """Number of answers from each daemon of a fleet."""


class LoadStatistics:
    """Collects outcomes; keeps a few numbers of each, not its answer."""

    def __init__(self) -> None:
        self._round_trips: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._daemon: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._beyond_run = array("d")
        self._lost_slots = 0
        self._answered_by: Counter[str] = Counter()

    @property
    def all_ok(self) -> bool:
        """Whether there was an outcome, and all were ``ok``."""
        return set(self._round_trips) == {"ok"} and not self._lost_slots

    def add(self, outcome: SendResult) -> None:
        """Add an outcome."""
        if outcome.lost_slot:
            self._lost_slots += 1
            return
        self._round_trips[outcome.kind].append(outcome.round_trip_ms)
        if outcome.by:
            self._answered_by[outcome.by] += 1
        timing = outcome.answer.timing_ms if outcome.answer else None
        if timing:
            for name in ("queue", "decode", "run"):
                self._daemon[name].append(getattr(timing, name))
            self._beyond_run.append(outcome.round_trip_ms - timing.decode - timing.run)

    def report(self, elapsed_s: float, unfinished: int = 0, duplicates: int = 0) -> LoadReport:
        """Return the statistics for a run that took `elapsed_s`."""
        ok = len(self._round_trips.get("ok", ()))
        return LoadReport(
            sent=sum(map(len, self._round_trips.values())) + unfinished,
            elapsed_s=round(elapsed_s, 3),
            ok_per_s=round(ok / elapsed_s, 3) if elapsed_s else 0.0,
            lost_slots=self._lost_slots,
            unfinished=unfinished,
            duplicates=duplicates,
            outcomes={
                k: OutcomeStatistics(len(v), milliseconds(v)) for k, v in sorted(self._round_trips.items())
            },
            daemon={name: found for name, v in self._daemon.items() if (found := milliseconds(v))},
            beyond_run=milliseconds(self._beyond_run),
            answered_by=dict(sorted(self._answered_by.items())),
        )


def milliseconds(values: Sequence[float]) -> Milliseconds | None:
    """Return the spread of `values`, with those percentiles that at least one sample exceeds."""
    if not values:
        return None
    ordered = sorted(values)
    # Integers: 1000 * (100 - 99.9) / 100 is a little less than 1.
    enough = {name: p for name, p in PERCENTILES.items() if len(ordered) * round(1000 - 10 * p) >= 1000}
    found = {
        "best_ms": ordered[0],
        "avg_ms": math.fsum(ordered) / len(ordered),
        "p50_ms": percentile(ordered, 50),
        **{name: percentile(ordered, p) for name, p in enough.items()},
        "worst_ms": ordered[-1],
    }
    return {name: round(value, 3) for name, value in found.items()}


def describe(report: LoadReport) -> list[str]:
    """Return the report as lines of text."""
    images = "1 image" if report.sent == 1 else f"{report.sent} images"
    lines = [f"{images} in {report.elapsed_s:.1f} s, {report.ok_per_s:.1f} labels per second"]
    for kind, found in report.outcomes.items():
        took = f"; round trip {format_milliseconds(found.round_trip)}" if found.round_trip else ""
        lines.append(f"  {kind}: {found.count}{took}")
    if report.beyond_run:
        medians = ", ".join(f"{name} {values['p50_ms']:.1f}" for name, values in report.daemon.items())
        beyond = report.beyond_run["p50_ms"]
        lines.append(
            f"  medians in the daemon: {medians} ms; round trip without decode and run: {beyond:.1f} ms"
        )
    if report.answered_by:
        shares = ", ".join(f"{name} {count}" for name, count in report.answered_by.items())
        lines.append(f"  answered by: {shares}")
    if report.duplicates:
        lines.append(f"  answered twice: {report.duplicates}; only the first answers count")
    if report.lost_slots:
        reason = "too many were in flight when they were due, or this machine was too slow"
        lines.append(f"  not sent: {report.lost_slots}; {reason}")
    if report.unfinished:
        lines.append(f"  unfinished when interrupted: {report.unfinished}")
    return lines


def format_milliseconds(values: Milliseconds) -> str:
    """Return ``best 1.0, p50 2.0, worst 3.0 ms``."""
    named = [(name.removesuffix("_ms").replace("_", "."), value) for name, value in values.items()]
    return ", ".join(f"{name} {value:.1f}" for name, value in named if name != "avg") + " ms"
