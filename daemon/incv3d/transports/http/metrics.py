"""Prometheus metrics: histograms and counters updated with every frame, gauges read when collected.

Names and units follow prometheus.io, "Metric and label naming": seconds, bytes, ``_total`` for counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from incv3d.frames import Refusal, Timings
from incv3d.latency.rolling import OUTCOMES
from incv3d.machine import SINCE_BOOT, THROTTLING
from incv3d.sources.base import SourceState
from incv3d.transports.base import STATES, DaemonStatus, TuningState

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a small network on a large machine to Inception-v3 on a hot Raspberry Pi 3 and a full queue."""
DURATIONS = {
    "queue": "Waiting for the decoder, and decoded for the Session.",
    "decode": "Decoding and resizing to the model's input.",
    "run": "Session.run alone.",
    "total": "From receipt to result.",
    "age": "From capture to result.",
}


class Metrics:
    """The metrics of one daemon, in a registry of their own.

    :param get_status: returns the status of the daemon; called in the thread that collects.
    """

    def __init__(self, get_status: Callable[[], DaemonStatus]) -> None:
        # Without _created, the start time of each series, which would double what is stored.
        self.registry: CollectorRegistry = _WithoutCreated()
        frames = Counter(
            "incv3d_frames", "Frames by what became of them.", ["outcome"], registry=self.registry
        )
        self._frames = {outcome: frames.labels(outcome) for outcome in OUTCOMES}
        self._durations = {
            name: Histogram(f"incv3d_{name}_seconds", what, buckets=BUCKETS_S, registry=self.registry)
            for name, what in DURATIONS.items()
        }
        self.registry.register(_Gauges(get_status))
        ProcessCollector(registry=self.registry)

    def record(self, now: float, timings: Timings) -> None:
        """Count a classified frame, and its durations."""
        self._frames["ok"].inc()
        for name, histogram in self._durations.items():
            histogram.observe(getattr(timings, f"{name}_ms") / 1000)

    def count(self, now: float, outcome: str) -> None:
        """Count a frame with another `outcome`."""
        self._frames[outcome.value if isinstance(outcome, Refusal) else outcome].inc()


class _WithoutCreated(CollectorRegistry):
    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


class _Gauges(Collector):
    def __init__(self, get_status: Callable[[], DaemonStatus]) -> None:
        self._get_status = get_status

    def describe(self) -> Iterable[Metric]:
        return ()  # their names are fixed and unique: no need to check them when registering

    def collect(self) -> Iterator[Metric]:
        now = self._get_status()
        yield _states("incv3d_state", "The daemon's state.", STATES, now.state)
        healthy = "Whether nothing is known to be wrong with the daemon."
        yield GaugeMetricFamily("incv3d_healthy", healthy, value=now.health == "ok")
        yield GaugeMetricFamily("incv3d_queue_frames", "Requests that wait.", value=now.queue_depth)
        limit = "Requests that may wait; further ones are answered busy."
        yield GaugeMetricFamily("incv3d_queue_limit_frames", limit, value=now.queue_limit)
        undelivered = "Answers that could not be sent: their peer was gone, or does not read."
        yield CounterMetricFamily("incv3d_undelivered", undelivered, value=now.undelivered)
        if now.model:
            yield InfoMetricFamily("incv3d_model", "What runs.", value=dict(now.model))
        yield from _cameras(now)
        yield from _tuning(now)
        yield from _machine(now)


def _cameras(now: DaemonStatus) -> Iterator[Metric]:
    if not now.sources:
        return
    state = GaugeMetricFamily(
        "incv3d_camera_state", "1 for the state that the source is in.", labels=["camera", "state"]
    )
    counters = {
        "frames": CounterMetricFamily(
            "incv3d_camera_frames", "Frames captured.", labels=["camera"]
        ),
        "lost_frames": CounterMetricFamily(
            "incv3d_camera_lost_frames", "Frames that the driver did not hand over.", labels=["camera"]
        ),
        "refused_frames": CounterMetricFamily(
            "incv3d_camera_refused_frames", "Frames, or regions, that were refused.", labels=["camera"]
        ),
        "recoveries": CounterMetricFamily(
            "incv3d_camera_recoveries", "How often frames came again after a stop.", labels=["camera"]
        ),
    }  # fmt: skip
    for source in now.sources:
        for each in get_args(SourceState):
            state.add_metric([source.name, each], source.state == each)
        for field, counter in counters.items():
            counter.add_metric([source.name], getattr(source, field))
    yield state
    yield from counters.values()


def _tuning(now: DaemonStatus) -> Iterator[Metric]:
    tuning = now.tuning
    what = "How far the daemon's own conversion to int8 is."
    yield _states("incv3d_tuning_state", what, get_args(TuningState), tuning.state)
    frames = "Distinct frames that are kept for it."
    yield GaugeMetricFamily("incv3d_tuning_frames", frames, value=tuning.frames)
    tries = "Conversions that were not kept."
    yield GaugeMetricFamily("incv3d_tuning_failed_tries", tries, value=tuning.tries)


def _machine(now: DaemonStatus) -> Iterator[Metric]:
    readings = now.machine
    if readings.temp_c is not None:
        yield GaugeMetricFamily("incv3d_temperature_celsius", "Of the processor.", value=readings.temp_c)
    if readings.throttled is not None:
        for name, what, shift in (
            ("incv3d_throttled", "What the firmware does to the processor now, and why.", 0),
            (
                "incv3d_throttled_since_boot",
                "What the firmware has done to the processor since boot.",
                SINCE_BOOT,
            ),
        ):
            family = GaugeMetricFamily(name, what, labels=["what"])
            for bit, words in enumerate(THROTTLING):
                family.add_metric([words], readings.throttled >> bit + shift & 1)
            yield family


def _states(name: str, what: str, states: Iterable[str], current: str) -> Metric:
    family = GaugeMetricFamily(name, what, labels=["state"])
    for each in states:
        family.add_metric([each], each == current)
    return family


def metrics_routes(metrics: Metrics) -> list[web.AbstractRouteDef]:
    """Return the route of ``/metrics``: text, or OpenMetrics if the client accepts it."""

    async def exposition(request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except TypeError:  # it asks for a version that is no number
            encode, content_type = choose_encoder("")
        headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        return web.Response(body=encode(metrics.registry), headers=headers)

    return [web.get("/metrics", exposition)]
