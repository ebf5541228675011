"""Measure steady load in three scenarios, modeled on MLPerf Inference's LoadGen.

``single-stream``: each result triggers the next image; measures the latency. ``offline``: all images are
available at once; measures the throughput. ``server``: images arrive at random, as a Poisson process with a
given rate; measures the latency from arrival, or the highest rate at which the 99th percentile stays below a
bound (Reddi et al., MLPerf Inference Benchmark, 2020, section 4). Unlike LoadGen, runs have only a minimum
duration, and the confidence interval is reported instead of required.

All three use the daemon's own pipeline, which runs two requests at once where the Session supports that;
``incv3d send`` measures the same with a network between.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Sequence
from itertools import cycle, pairwise
from typing import Literal

import msgspec

from incv3d.tools.bench.confidence import Interval, percentile_interval
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.scenario_pipeline import ScenarioPipeline
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor

Scenario = Literal["single-stream", "offline", "server"]
PERCENTS = (50.0, 90.0, 99.0)
OFFLINE_IN_FLIGHT = 8
"""Enough to keep all threads of the pipeline busy."""
BATCHES = 10
"""The throughput's interval is that of the median over this many batches of equally many images."""
FEWEST_ARRIVALS = 10
"""If fewer arrive within the minimum duration, the scenario takes longer."""
SEED = 20161201


class Query(msgspec.Struct, frozen=True):
    """One image that has its result."""

    latency_ms: float
    """From arrival to result."""
    ended_s: float
    """Since the start of the scenario."""
    slowed_down: bool
    """Whether the machine was throttled or hot."""


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a scenario."""

    scenario: Scenario
    duration_s: float
    queries: int
    slowed_down: int
    """Queries during which the machine was throttled or hot; the figures below do not include them."""
    latency: tuple[Interval, ...]
    """p50, p90 and p99, milliseconds, with 95 % confidence; empty for `offline`."""
    throughput: Interval | None
    """Images per second; `offline` only."""
    rate: float | None
    """`server`: images per second that arrived."""
    latency_bound_ms: float | None = None
    met_bound: bool | None = None
    interrupted: bool = False


class Stopwatch:
    """Turns results of the pipeline into queries."""

    def __init__(self, throttle: ThrottleMonitor) -> None:
        self.started = time.monotonic()
        self._throttle = throttle
        self._was_slow = throttle.slowed_down()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the scenario."""
        return time.monotonic() - self.started

    def query(self, due: float, ended: float) -> Query:
        """Return the query whose result has just come."""
        is_slow = self._throttle.slowed_down()
        query = Query((ended - due) * 1000, ended - self.started, self._was_slow or is_slow)
        self._was_slow = is_slow
        return query


def single_stream(
    pipeline: ScenarioPipeline, images: Sequence[bytes], min_duration_s: float, throttle: ThrottleMonitor
) -> Generator[Query, None, None]:
    """Classify one image after the other until the time is over."""
    watch = Stopwatch(throttle)
    for image in cycle(images):
        pipeline.submit(image, time.monotonic())
        query = watch.query(*pipeline.wait())
        yield query
        if query.ended_s >= min_duration_s:
            return


def offline(
    pipeline: ScenarioPipeline, images: Sequence[bytes], min_duration_s: float, throttle: ThrottleMonitor
) -> Generator[Query, None, None]:
    """Keep the pipeline full until the time is over, and finish what is in it."""
    watch = Stopwatch(throttle)
    in_flight = 0
    remaining = cycle(images)
    while True:
        while in_flight < OFFLINE_IN_FLIGHT and (not in_flight or watch.elapsed_s < min_duration_s):
            pipeline.submit(next(remaining), time.monotonic())
            in_flight += 1
        query = watch.query(*pipeline.wait())
        yield query
        in_flight -= 1
        if not in_flight and query.ended_s >= min_duration_s:
            return


def server(
    pipeline: ScenarioPipeline,
    images: Sequence[bytes],
    min_duration_s: float,
    throttle: ThrottleMonitor,
    rate: float,
    hopeless_ms: float = float("inf"),
    seed: int = SEED,
) -> Generator[Query, None, None]:
    """Classify images that arrive at random, `rate` per second; latencies count from the arrival.

    :param hopeless_ms: stop when an image took this long.
    """
    schedule = arrivals(rate, min_duration_s, seed)
    watch = Stopwatch(throttle)
    stop = threading.Event()

    def send() -> None:
        for due_s, image in zip(schedule, cycle(images), strict=False):
            due = watch.started + due_s
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            pipeline.submit(image, due)

    sender = threading.Thread(target=send, name="arrivals", daemon=True)
    sender.start()
    done = 0
    try:
        while done < len(schedule):
            query = watch.query(*pipeline.wait())
            done += 1
            yield query
            if query.latency_ms > hopeless_ms:
                return
    finally:
        stop.set()
        sender.join()


def arrivals(rate: float, min_duration_s: float, seed: int) -> list[float]:
    """Return the times at which images arrive, seconds; they depend only on the arguments."""
    chance = random.Random(seed)
    found: list[float] = []
    due_s = chance.expovariate(rate)
    while due_s < min_duration_s or len(found) < FEWEST_ARRIVALS:
        found.append(due_s)
        due_s += chance.expovariate(rate)
    return found


def summarize(
    scenario: Scenario, queries: Sequence[Query], rate: float | None = None, bound_ms: float | None = None
) -> ScenarioResult:
    """Return the figures of one or more queries.

    :raises BenchError: if the machine was throttled or hot all the time.
    """
    cool = [query for query in queries if not query.slowed_down]
    if not cool:
        raise BenchError(
            "the machine was throttled or hot all the time; let it cool down, or check its power supply"
        )
    ordered = sorted(query.latency_ms for query in cool)
    latency = tuple(percentile_interval(ordered, percent) for percent in PERCENTS)
    return ScenarioResult(
        scenario=scenario,
        duration_s=queries[-1].ended_s,
        queries=len(queries),
        slowed_down=len(queries) - len(cool),
        latency=() if scenario == "offline" else latency,
        throughput=throughput(queries) if scenario == "offline" else None,
        rate=rate,
        latency_bound_ms=bound_ms,
        met_bound=None if bound_ms is None else latency[-1].value <= bound_ms,
    )


def throughput(queries: Sequence[Query]) -> Interval:
    """Return images per second: the median over batches of equally many images, without slowed-down ones."""
    batches = min(BATCHES, len(queries))
    edges = [len(queries) * number // batches for number in range(batches + 1)]
    rates = []
    for first, last in pairwise(edges):
        begun = queries[first - 1].ended_s if first else 0.0
        took_s = queries[last - 1].ended_s - begun
        if took_s > 0 and not any(query.slowed_down for query in queries[first:last]):
            rates.append((last - first) / took_s)
    if not rates:
        raise BenchError("the machine was throttled or hot in every part of the run; let it cool down")
    return percentile_interval(sorted(rates), 50)
