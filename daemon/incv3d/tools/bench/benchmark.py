"""A benchmark from beginning to end: which model, which engines, what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.loader import available_cores
from incv3d.tools.bench.breakdown import Breakdown, break_down
from incv3d.tools.bench.engines import TITLES, available_mb, fitting, plan
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.interleave import measure
from incv3d.tools.bench.machine_info import look
from incv3d.tools.bench.measurements import Unavailable
from incv3d.tools.bench.report import Report
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor
from incv3d.tools.bench.worker_protocol import Engine, Job


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be measured."""

    model: StoredModel
    store: ModelStore
    """The one that the model is in."""
    random_weights: bool
    picture: Path
    engines: Sequence[Engine]
    threads: int
    """0: all cores."""
    cache_filters: bool
    """Whether the lean Session keeps its filters in the processor's layout."""
    warmup_runs: int
    num_runs: int


def benchmark(request: Request, say: Callable[[str], None], progress: Callable[[str, int], None]) -> Report:
    """Measure what is asked for.

    :param say: told what is being made first.
    :param progress: told an engine and the number of its runs that are done.
    :raises BenchError: when nothing could be measured.
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
        device=look(),
        model=request.model.name,
        random_weights=request.random_weights,
        picture=str(request.picture),
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
    """Take the runs of the plain and the lean Session apart.

    :raises BenchError: when neither could be opened.
    """
    traceable = [engine for engine in request.engines if engine in ("plain", "lean")]
    if not traceable or request.model.entry.format != "graphdef":
        raise BenchError(
            "--breakdown takes TensorFlow's runs apart: it needs a frozen graph, on plain or lean"
        )
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
) -> tuple[list[Job], list[Unavailable], bool]:
    planned, unplanned = plan(
        engines,
        request.model,
        request.store,
        request.picture,
        request.threads,
        request.cache_filters,
        say,
    )
    jobs, too_large, together = fitting(planned, available_mb())
    return jobs, unplanned + too_large, together


def _why(unavailable: Sequence[Unavailable]) -> str:
    return "nothing was measured: " + "; ".join(f"{TITLES[u.engine]}: {u.reason}" for u in unavailable)
