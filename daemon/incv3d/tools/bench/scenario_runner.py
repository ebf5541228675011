"""A scenario from beginning to end, the search for the highest rate, and what came of it in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from incv3d.tools.bench.confidence import Interval
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.scenarios import (
    Outcome,
    Queries,
    Query,
    Scenario,
    offline,
    server,
    single_stream,
    summarise,
)
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor

SEARCH_STEPS = 6
"""Halvings in the search for the highest rate: it is found within a sixty-fourth of the throughput."""
HOPELESS_BOUNDS = 20
"""A rate at which a picture waits this many times the bound is too high: the trial need not be finished."""


class ScenarioRunner:
    """One classifier and the pictures that it is given.

    :param min_duration_s: of a scenario, and of each trial in the search for the highest rate.
    """

    def __init__(
        self,
        classifier: Queries,
        pictures: Sequence[bytes],
        min_duration_s: float,
        heat: ThrottleMonitor | None = None,
    ) -> None:
        self._classifier = classifier
        self._pictures = pictures
        self._min_duration_s = min_duration_s
        self._heat = heat or ThrottleMonitor()
        self._interrupted = False

    def run(
        self,
        scenario: Scenario,
        rate: float | None,
        bound_ms: float | None,
        told: Callable[[Outcome], None],
    ) -> Outcome:
        """Run `scenario`; Ctrl-C ends it early, with what there is.

        :param rate: `server`: pictures a second; None: the highest that keeps `bound_ms` is sought.
        :param told: told of every trial of the search.
        :raises BenchError: when there is no figure to give.
        """
        if scenario == "server":
            outcome = self._server(rate, bound_ms, told)
        else:
            way = single_stream if scenario == "single-stream" else offline
            outcome = summarise(
                scenario,
                self._collect(way(self._classifier, self._pictures, self._min_duration_s, self._heat)),
            )
        return msgspec.structs.replace(outcome, interrupted=self._interrupted)

    def _server(self, rate: float | None, bound_ms: float | None, told: Callable[[Outcome], None]) -> Outcome:
        if rate is not None:
            return summarise("server", self._trial(rate, float("inf")), rate, bound_ms)
        assert bound_ms is not None, "the server scenario needs a rate or a bound"
        flat_out = self._collect(
            offline(self._classifier, self._pictures, self._min_duration_s / 4, self._heat)
        )
        ceiling = len(flat_out) / flat_out[-1].ended_s
        hopeless_ms = HOPELESS_BOUNDS * bound_ms
        best = highest_rate(
            lambda at: self._trial(at, hopeless_ms), ceiling, bound_ms, told, lambda: self._interrupted
        )
        if best is None and self._interrupted:
            raise BenchError("interrupted before a rate was found")
        if best is None:
            raise BenchError(
                f"no rate keeps the 99th percentile below {bound_ms:g} ms: it is above that even at "
                f"{ceiling / 2**SEARCH_STEPS:.2f} pictures a second"
            )
        return best

    def _trial(self, rate: float, hopeless_ms: float) -> list[Query]:
        return self._collect(
            server(self._classifier, self._pictures, self._min_duration_s, self._heat, rate, hopeless_ms)
        )

    def _collect(self, queries: Iterator[Query]) -> list[Query]:
        found: list[Query] = []
        try:
            for query in queries:
                found.append(query)
        except KeyboardInterrupt:
            self._interrupted = True
        if not found:
            raise BenchError("not one picture came and was classified in that time: take longer")
        return found


def highest_rate(
    trial: Callable[[float], Sequence[Query]],
    ceiling: float,
    bound_ms: float,
    told: Callable[[Outcome], None],
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """The highest rate at which the 99th percentile stays below `bound_ms`, by halving; None: there is none.

    :param trial: runs the server scenario at a rate.
    :param ceiling: a rate that is certainly too high: the throughput.
    :param told: told of every trial.
    :param interrupted: whether the last trial was broken off, which then says nothing.
    """
    low, high = 0.0, ceiling
    best: Outcome | None = None
    for _ in range(SEARCH_STEPS):
        rate = (low + high) / 2
        queries = trial(rate)
        if interrupted():
            break
        outcome = summarise("server", queries, rate, bound_ms)
        told(outcome)
        if outcome.met_bound:
            low, best = rate, outcome
        else:
            high = rate
    return best


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """For people."""
    came = f", {outcome.rate:.2f} a second arriving at random" if outcome.rate is not None else ""
    yield f"{outcome.scenario}: {outcome.queries} pictures in {outcome.duration_s:.1f} s{came}"
    if outcome.throughput:
        yield f"  throughput {_interval(outcome.throughput, '')} pictures a second"
    for each in outcome.latency:
        yield f"  p{each.percent:.0f} {_interval(each, ' ms')}"
    if outcome.latency_bound_ms is not None:
        kept = "met" if outcome.met_bound else "NOT met"
        yield f"  p99 below {outcome.latency_bound_ms:g} ms: {kept}"
    if outcome.slowed_down:
        yield (
            f"  {outcome.slowed_down} of {outcome.queries} pictures while the machine was throttled or hot: "
            "they are left out of these figures"
        )
    if outcome.interrupted:
        yield "  interrupted: this is what was measured until then"


def _interval(interval: Interval, unit: str) -> str:
    low = "?" if interval.low is None else f"{interval.low:.2f}"
    high = "?" if interval.high is None else f"{interval.high:.2f}"
    return f"{interval.value:.2f}{unit} ({interval.confidence * 100:.0f} % confidence: {low} to {high})"
