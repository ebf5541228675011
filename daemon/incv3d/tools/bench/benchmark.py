"""Run a benchmark: plan the jobs, measure them, and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from incv3d.machine import available_memory_mb
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.session_spec import available_cores
from incv3d.tools.bench.breakdown import Breakdown, break_down
from incv3d.tools.bench.engines import TITLES, fitting, plan
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.interleave import measure
from incv3d.tools.bench.machine_info import describe_machine
from incv3d.tools.bench.measurements import Unavailable
from incv3d.tools.bench.report import Report
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor
from incv3d.tools.bench.worker_protocol import Engine, EngineJob


@dataclass(frozen=True, slots=True)
class Request:
    """The benchmark to run."""

    model: StoredModel
    store: ModelStore
    """The store that contains the model."""
    random_weights: bool
    image: Path
    engines: Sequence[Engine]
    threads: int
    """0: all cores."""
    cache_filters: bool
    """Whether the lean Session caches its filters in the processor's layout."""
    warmup_runs: int
    num_runs: int


def benchmark(request: Request, say: Callable[[str], None], progress: Callable[[str, int], None]) -> Report:
    """Measure the engines of `request`.

    :param say: called with a line when something has to be prepared first.
    :param progress: called with an engine and the number of its completed runs.
    :raises BenchError: if nothing could be measured.
    """
    jobs, unavailable, together = _jobs(request, request.engines, say)
    runs = request.warmup_runs + request.num_runs
    measured = measure(jobs, runs, ThrottleMonitor(), progress, together)
    unavailable += measured.unavailable
    if not measured.measurements:
        if measured.interrupted:
            raise KeyboardInterrupt
        raise BenchError(_why(unavailable))
    return Report(
        device=describe_machine(),
        model=request.model.name,
        random_weights=request.random_weights,
        picture=str(request.image),
        threads=request.threads or available_cores(),
        warmup_runs=request.warmup_runs,
        num_runs=request.num_runs,
        interleaved=together,
        interrupted=measured.interrupted,
        measurements=tuple(measured.measurements),
        unavailable=tuple(unavailable),
    )


def breakdown(
    request: Request, say: Callable[[str], None], progress: Callable[[str, int], None]
) -> tuple[list[Breakdown], list[Unavailable]]:
    """Break down the runs of the plain and the lean Session.

    :raises BenchError: if neither could be opened.
    """
    traceable = [engine for engine in request.engines if engine in ("plain", "lean")]
    if not traceable or request.model.entry.format != "graphdef":
        raise BenchError("--breakdown needs TensorFlow: a frozen graph, with --engines plain or lean")
    jobs, unavailable, together = _jobs(request, traceable, say)
    groups = [jobs] if together else [[job] for job in jobs]
    found: list[Breakdown] = []
    for group in groups:
        some, failed = break_down(group, request.warmup_runs, request.num_runs, ThrottleMonitor(), progress)
        found += some
        unavailable += failed
    if not found:
        raise BenchError(_why(unavailable))
    return found, unavailable


def _jobs(
    request: Request, engines: Sequence[Engine], say: Callable[[str], None]
) -> tuple[list[EngineJob], list[Unavailable], bool]:
    planned, unplanned = plan(
        engines,
        request.model,
        request.store,
        request.image,
        request.threads,
        request.cache_filters,
        say,
    )
    jobs, too_large, together = fitting(planned, available_memory_mb())
    return jobs, unplanned + too_large, together


def _why(unavailable: Sequence[Unavailable]) -> str:
    return "nothing was measured: " + "; ".join(f"{TITLES[u.engine]}: {u.reason}" for u in unavailable)
