"""Steady figures, in the manner of MLPerf Inference's LoadGen: three ways in which pictures come.

``single-stream``: the next picture comes when the last one has its result; the figure is the latency.
``offline``: all pictures are there; the figure is the throughput. ``server``: pictures come at random, as a
Poisson process of a given rate; the figure is the latency from arrival, or the highest rate at which the 99th
percentile stays below a bound (Reddi et al., MLPerf Inference Benchmark, 2020, section 4). Unlike LoadGen's,
runs have a minimum duration only, and the confidence interval is printed instead of being met.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from typing import Literal, Protocol

import msgspec

from incv3d.frames import Frame, Result
from incv3d.pipeline.classifier import Prepared
from incv3d.tools.bench.confidence import Interval, percentile_interval
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor

Scenario = Literal["single-stream", "offline", "server"]
PERCENTS = (50.0, 90.0, 99.0)
BATCHES = 10
"""The throughput's interval is of the median over so many stretches of equally many pictures."""
LEAST_ARRIVALS = 10
"""A rate so low that fewer come within the minimum duration takes longer."""
SEED = 20161201


class Queries(Protocol):
    """What is measured; :class:`incv3d.pipeline.classifier.Classifier` is one."""

    def prepare(self, frame: Frame) -> Prepared:
        """Decode a frame."""

    def classify(self, prepared: Prepared) -> Result:
        """Run the network on it."""


class Query(msgspec.Struct, frozen=True):
    """One picture that has its result."""

    latency_ms: float
    """From arrival to result."""
    ended_s: float
    """Since the scenario began."""
    slowed_down: bool
    """The machine was throttled or hot."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario came to."""

    scenario: Scenario
    duration_s: float
    queries: int
    slowed_down: int
    """Queries during which the machine was throttled or hot; they are in none of the figures below."""
    latency: tuple[Interval, ...]
    """p50, p90 and p99, milliseconds, with 95 % confidence; empty for `offline`."""
    throughput: Interval | None
    """Pictures a second; `offline` only."""
    rate: float | None
    """`server`: pictures a second that came."""
    latency_bound_ms: float | None = None
    met_bound: bool | None = None
    interrupted: bool = False


def single_stream(
    classifier: Queries, pictures: Sequence[bytes], min_duration_s: float, heat: ThrottleMonitor
) -> Iterator[Query]:
    """One picture after the other, until the time is over."""
    started = time.monotonic()
    for data in cycle(pictures):
        hot = heat.slowed_down()
        arrived = time.monotonic()
        classifier.classify(classifier.prepare(_frame(data, arrived)))
        now = time.monotonic()
        yield Query((now - arrived) * 1000, now - started, hot or heat.slowed_down())
        if now - started >= min_duration_s:
            return


def offline(
    classifier: Queries, pictures: Sequence[bytes], min_duration_s: float, heat: ThrottleMonitor
) -> Iterator[Query]:
    """As fast as they can be decoded and run, one thread each, until the time is over."""
    started = time.monotonic()

    def frames() -> Iterator[Frame]:
        for data in cycle(pictures):
            if time.monotonic() - started >= min_duration_s:
                return
            yield _frame(data, time.monotonic())

    yield from _two_threads(classifier, frames(), heat, started)


def server(
    classifier: Queries,
    pictures: Sequence[bytes],
    min_duration_s: float,
    heat: ThrottleMonitor,
    rate: float,
    hopeless_ms: float = float("inf"),
    seed: int = SEED,
) -> Iterator[Query]:
    """Pictures that arrive at random, `rate` of them a second; a latency counts from the arrival.

    :param hopeless_ms: when a picture took this long, no more of them come.
    """
    started = time.monotonic()
    stop = threading.Event()

    def frames() -> Iterator[Frame]:
        # Which moments those are depends on the seed alone, not on how the machine keeps up.
        chance = random.Random(seed)
        due = started
        for sent, data in enumerate(cycle(pictures)):
            due += chance.expovariate(rate)
            if stop.is_set() or (sent >= LEAST_ARRIVALS and due - started >= min_duration_s):
                return
            time.sleep(max(0.0, due - time.monotonic()))
            yield _frame(data, due)

    for query in _two_threads(classifier, _arrivals(frames()), heat, started):
        yield query
        if query.latency_ms > hopeless_ms:
            stop.set()
            return


def summarise(
    scenario: Scenario, queries: Sequence[Query], rate: float | None = None, bound_ms: float | None = None
) -> Outcome:
    """What `queries`, at least one, say.

    :raises BenchError: when the machine was throttled or hot all the time.
    """
    cool = [query for query in queries if not query.slowed_down]
    if not cool:
        raise BenchError("the machine was throttled or hot all the time; let it cool, or look at its supply")
    ordered = sorted(query.latency_ms for query in cool)
    latency = tuple(percentile_interval(ordered, percent) for percent in PERCENTS)
    return Outcome(
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
    """Pictures a second: the median over stretches of equally many pictures, those marked left out."""
    batches = min(BATCHES, len(queries))
    edges = [len(queries) * number // batches for number in range(batches + 1)]
    rates = []
    for first, last in pairwise(edges):
        begun = queries[first - 1].ended_s if first else 0.0
        if not any(query.slowed_down for query in queries[first:last]):
            rates.append((last - first) / (queries[last - 1].ended_s - begun))
    if not rates:
        raise BenchError("the machine was throttled or hot in every stretch of the run; let it cool")
    return percentile_interval(sorted(rates), 50)


def _frame(data: bytes, arrived: float) -> Frame:
    return Frame("bench", data, None, received=arrived, captured=arrived)


def _arrivals(frames: Iterator[Frame]) -> Iterator[Frame]:
    """`frames`, each as soon as it comes, however long the ones before it wait."""
    line: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    def fill() -> None:
        for frame in frames:
            line.put(frame)
        line.put(None)

    threading.Thread(target=fill, name="arrivals", daemon=True).start()
    while (frame := line.get()) is not None:
        yield frame


def _two_threads(
    classifier: Queries, frames: Iterator[Frame], heat: ThrottleMonitor, started: float
) -> Iterator[Query]:
    """Decode each frame in a thread of its own while the one before it runs, as the daemon does."""
    line: queue.Queue[Prepared | Exception | None] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(item: Prepared | Exception | None) -> None:
        while not stop.is_set():
            try:
                line.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def decode() -> None:
        try:
            for frame in frames:
                if stop.is_set():
                    return
                put(classifier.prepare(frame))
        except Exception as error:  # noqa: BLE001 - a thread's last words: raised again by the one that runs
            put(error)
        else:
            put(None)

    threading.Thread(target=decode, name="decode", daemon=True).start()
    try:
        while (prepared := line.get()) is not None:
            if isinstance(prepared, Exception):
                raise prepared
            hot = heat.slowed_down()
            classifier.classify(prepared)
            ended = time.monotonic()
            latency_ms = (ended - prepared.frame.received) * 1000
            yield Query(latency_ms, ended - started, hot or heat.slowed_down())
    finally:
        stop.set()
