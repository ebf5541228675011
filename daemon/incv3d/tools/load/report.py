"""What a load generator's outcomes come to: counts, throughput, percentiles by outcome."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from incv3d.latency.rolling import percentile
from incv3d.tools.load.sender import Outcome

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "p99_9_ms": 99.9}

Milliseconds = dict[str, float]
"""``best_ms``, ``avg_ms``, the percentiles that there are samples for, ``worst_ms``."""


@dataclass(frozen=True, slots=True)
class OutcomeStatistics:
    """One kind of outcome: how often, and how long it took. Slots that were lost took no time."""

    count: int
    round_trip: Milliseconds | None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The whole run."""

    sent: int
    elapsed_s: float
    ok_per_s: float
    lost_slots: int
    """Open loop: shots that were due while too many were under way."""
    unfinished: int
    """Shots that were under way when the run was interrupted."""
    duplicates: int
    """Further answers to shots that had one: a fleet may give two when a daemon dies, or is slow."""
    outcomes: dict[str, OutcomeStatistics]
    daemon: dict[str, Milliseconds]
    """Where the daemon says that the ``ok`` ones' time went: ``queue``, ``decode``, ``run``."""
    beyond_run: Milliseconds | None
    """The ``ok`` ones' round trip without the daemon's decode and run: waiting and transport."""
    answered_by: dict[str, int]
    """Answers of each daemon of a fleet."""


class LoadStatistics:
    """Adds outcomes up; keeps a few numbers of each, not its answer."""

    def __init__(self) -> None:
        self._round_trips: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._daemon: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._beyond_run = array("d")
        self._lost_slots = 0
        self._answered_by: Counter[str] = Counter()

    @property
    def all_ok(self) -> bool:
        """Whether there was an outcome, and every one was a label."""
        return set(self._round_trips) == {"ok"} and not self._lost_slots

    def add(self, outcome: Outcome) -> None:
        """Count one."""
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
        """The sums, for a run that took `elapsed_s`."""
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
    """The spread of `values`; a percentile only where at least one sample lies beyond it."""
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
    """The report in lines, for a person."""
    lines = [f"{report.sent} pictures in {report.elapsed_s:.1f} s, {report.ok_per_s:.1f} labels a second"]
    for kind, found in report.outcomes.items():
        took = f"; round trip {spell(found.round_trip)}" if found.round_trip else ""
        lines.append(f"  {kind}: {found.count}{took}")
    if report.beyond_run:
        medians = ", ".join(f"{name} {values['p50_ms']:.1f}" for name, values in report.daemon.items())
        beyond = report.beyond_run["p50_ms"]
        lines.append(f"  medians in the daemon: {medians} ms; beyond decode and run: {beyond:.1f} ms")
    if report.answered_by:
        shares = ", ".join(f"{name} {count}" for name, count in report.answered_by.items())
        lines.append(f"  answered by: {shares}")
    if report.duplicates:
        lines.append(f"  answered twice: {report.duplicates}; the first answer counts")
    if report.lost_slots:
        lines.append(f"  not sent: {report.lost_slots}; too many were under way when they were due")
    if report.unfinished:
        lines.append(f"  under way when it was stopped: {report.unfinished}")
    return lines


def spell(values: Milliseconds) -> str:
    """``best 1.0, p50 2.0, worst 3.0 ms``."""
    named = [(name.removesuffix("_ms").replace("_", "."), value) for name, value in values.items()]
    return ", ".join(f"{name} {value:.1f}" for name, value in named if name != "avg") + " ms"
