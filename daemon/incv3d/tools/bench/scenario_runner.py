"""Run scenarios, search for the highest rate, and describe the results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import msgspec

from incv3d.tools.bench.confidence import Interval
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.scenario_pipeline import ScenarioPipeline
from incv3d.tools.bench.scenarios import (
    Query,
    Scenario,
    ScenarioResult,
    offline,
    server,
    single_stream,
    summarize,
)
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor

SEARCH_STEPS = 6
"""Bisections in the search for the highest rate, which is found to within 1/64 of the throughput."""
HOPELESS_BOUNDS = 20
"""A trial stops early if an image takes this many times the bound: its rate is too high."""


class ScenarioRunner:
    """Runs scenarios on one pipeline.

    :param min_duration_s: of a scenario, and of each trial in the search for the highest rate.
    """

    def __init__(
        self,
        pipeline: ScenarioPipeline,
        images: Sequence[bytes],
        min_duration_s: float,
        throttle: ThrottleMonitor | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._images = images
        self._min_duration_s = min_duration_s
        self._throttle = throttle or ThrottleMonitor()
        self._interrupted = False

    def run(
        self,
        scenario: Scenario,
        rate: float | None,
        bound_ms: float | None,
        on_trial: Callable[[ScenarioResult], None],
    ) -> ScenarioResult:
        """Run `scenario`; Ctrl-C ends it early and keeps the results so far.

        :param rate: `server`: images per second; None: find the highest rate that meets `bound_ms`.
        :param on_trial: called with the result of every trial of the search.
        :raises BenchError: if there is no result.
        """
        if scenario == "server":
            result = self._server(rate, bound_ms, on_trial)
        else:
            measure = single_stream if scenario == "single-stream" else offline
            queries = measure(self._pipeline, self._images, self._min_duration_s, self._throttle)
            result = summarize(scenario, self._collect(queries))
        return msgspec.structs.replace(result, interrupted=self._interrupted)

    def _server(
        self, rate: float | None, bound_ms: float | None, on_trial: Callable[[ScenarioResult], None]
    ) -> ScenarioResult:
        if rate is not None:
            return summarize("server", self._trial(rate, float("inf")), rate, bound_ms)
        assert bound_ms is not None, "the server scenario needs a rate or a bound"
        flat_out = self._collect(
            offline(self._pipeline, self._images, self._min_duration_s / 4, self._throttle)
        )
        ceiling = len(flat_out) / flat_out[-1].ended_s
        hopeless_ms = HOPELESS_BOUNDS * bound_ms
        best = highest_rate(
            lambda at: self._trial(at, hopeless_ms), ceiling, bound_ms, on_trial, lambda: self._interrupted
        )
        if best is None and self._interrupted:
            raise BenchError("interrupted before a rate was found")
        if best is None:
            raise BenchError(
                f"no rate keeps the 99th percentile below {bound_ms:g} ms: it is higher even at "
                f"{ceiling / 2**SEARCH_STEPS:.2f} images per second"
            )
        return best

    def _trial(self, rate: float, hopeless_ms: float) -> list[Query]:
        return self._collect(
            server(self._pipeline, self._images, self._min_duration_s, self._throttle, rate, hopeless_ms)
        )

    def _collect(self, queries: Generator[Query, None, None]) -> list[Query]:
        found: list[Query] = []
        with closing(queries):
            try:
                for query in queries:
                    found.append(query)
            except KeyboardInterrupt:
                self._interrupted = True
        self._pipeline.clear()
        if not found:
            raise BenchError("no image was classified in that time; increase --min-duration")
        return found


def highest_rate(
    trial: Callable[[float], Sequence[Query]],
    ceiling: float,
    bound_ms: float,
    on_trial: Callable[[ScenarioResult], None],
    interrupted: Callable[[], bool] = lambda: False,
) -> ScenarioResult | None:
    """Find the highest rate whose 99th percentile stays below `bound_ms` by bisection; None if there is none.

    :param trial: runs the server scenario at a rate.
    :param ceiling: a rate that is certainly too high: the throughput.
    :param on_trial: called with the result of every trial.
    :param interrupted: whether the last trial was interrupted, so that its result does not count.
    """
    low, high = 0.0, ceiling
    best: ScenarioResult | None = None
    for _ in range(SEARCH_STEPS):
        rate = (low + high) / 2
        queries = trial(rate)
        if interrupted():
            break
        result = summarize("server", queries, rate, bound_ms)
        on_trial(result)
        if result.met_bound:
            low, best = rate, result
        else:
            high = rate
    return best


def result_lines(result: ScenarioResult) -> Iterator[str]:
    """Describe the result in lines of text."""
    arrived = f", {result.rate:.2f} per second arriving at random" if result.rate is not None else ""
    yield f"{result.scenario}: {result.queries} images in {result.duration_s:.1f} s{arrived}"
    if result.throughput:
        yield f"  throughput {_interval(result.throughput, '')} images per second"
    for each in result.latency:
        yield f"  p{each.percent:.0f} {_interval(each, ' ms')}"
    if result.latency_bound_ms is not None:
        met = "met" if result.met_bound else "NOT met"
        yield f"  p99 below {result.latency_bound_ms:g} ms: {met}"
    if result.slowed_down:
        yield (
            f"  left out {result.slowed_down} of {result.queries} images, during which the machine was "
            "throttled or hot"
        )
    if result.interrupted:
        yield "  interrupted: incomplete results"


def _interval(interval: Interval, unit: str) -> str:
    low = "?" if interval.low is None else f"{interval.low:.2f}"
    high = "?" if interval.high is None else f"{interval.high:.2f}"
    return f"{interval.value:.2f}{unit} ({interval.confidence * 100:.0f} % confidence: {low} to {high})"
