"""Several engines measured side by side: their processes take turns, run by run.

A machine that is busy with something else for a while so slows all of them, and none is favoured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from incv3d.tools.bench.measurements import Measurement, Unavailable
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor
from incv3d.tools.bench.worker_process import WorkerFailed, WorkerProcess
from incv3d.tools.bench.worker_protocol import Job, OpenReply

BREATH_S = 0.02
"""Between two turns: idle threads of a library spin for a while, which must not be the next engine's cost."""


@dataclass(slots=True)
class WorkerState:
    """An open child, and what it has done so far."""

    child: WorkerProcess
    opened: OpenReply
    first_result_s: float = 0.0
    runs_s: list[float] = field(default_factory=list)
    slowed_down: list[bool] = field(default_factory=list)
    scores: tuple[float, ...] = ()


@dataclass(slots=True)
class Measured:
    """What came out."""

    measurements: list[Measurement] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)
    interrupted: bool = False


def measure(
    jobs: Sequence[Job],
    runs: int,
    heat: ThrottleMonitor,
    progress: Callable[[str, int], None],
    together: bool = True,
) -> Measured:
    """Run every job `runs` times, each in a process of its own.

    Ctrl-C ends it early, with what there is.

    :param progress: told the engine and the number of its runs that are done.
    :param together: False: one engine after the other, for a machine that cannot hold all of them at once.
    """
    measured = Measured()
    for group in [jobs] if together else [[job] for job in jobs]:
        if not measured.interrupted:
            _measure_together(group, runs, heat, progress, measured)
    return measured


def _measure_together(
    jobs: Sequence[Job],
    runs: int,
    heat: ThrottleMonitor,
    progress: Callable[[str, int], None],
    measured: Measured,
) -> None:
    with contextlib.ExitStack() as stack:
        sittings: list[WorkerState] = []
        try:
            for job in jobs:
                progress(job.engine, 0)
                child = WorkerProcess(job)
                stack.callback(child.kill)
                try:
                    sitting = WorkerState(child, child.opened())
                    _run(sitting, heat)
                    sitting.first_result_s = time.perf_counter() - child.started
                    sittings.append(sitting)
                    progress(job.engine, 1)
                except WorkerFailed as error:
                    measured.unavailable.append(Unavailable(engine=job.engine, reason=str(error)))
            for done in range(1, runs):
                # Everybody comes first in turn, so that nobody always follows the same one.
                first = done % len(sittings) if sittings else 0
                for sitting in sittings[first:] + sittings[:first]:
                    time.sleep(BREATH_S)
                    try:
                        _run(sitting, heat)
                    except WorkerFailed as error:
                        reason = f"stopped after {len(sitting.runs_s)} runs: {error}"
                        measured.unavailable.append(Unavailable(engine=sitting.child.engine, reason=reason))
                        sittings.remove(sitting)
                    else:
                        progress(sitting.child.engine, len(sitting.runs_s))
        except KeyboardInterrupt:
            measured.interrupted = True
        measured.measurements += [_finish(each) for each in sittings]


def _run(sitting: WorkerState, heat: ThrottleMonitor) -> None:
    before = heat.slowed_down()
    ran = sitting.child.run()
    sitting.runs_s.append(ran.run_s)
    sitting.slowed_down.append(before or heat.slowed_down())
    sitting.scores = sitting.scores or ran.scores


def _finish(sitting: WorkerState) -> Measurement:
    opened, memory = sitting.opened, sitting.child.memory()
    return Measurement(
        engine=sitting.child.engine,
        version=opened.version,
        import_s=opened.import_s,
        build_s=opened.build_s,
        first_result_s=sitting.first_result_s,
        decodes_in_graph=opened.decodes_in_graph,
        devices=opened.devices,
        runs_s=tuple(sitting.runs_s),
        slowed_down=tuple(sitting.slowed_down),
        scores=sitting.scores,
        peak_mb=memory.peak_mb,
        anonymous_mb=memory.anonymous_mb,
    )
