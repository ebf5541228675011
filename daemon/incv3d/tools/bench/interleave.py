"""Measure several engines side by side: their worker processes take turns, run by run.

If the machine is busy with something else for a while, that slows all of them and favors none.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from incv3d.tools.bench.measurements import Measurement, Unavailable
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor
from incv3d.tools.bench.worker_protocol import EngineJob, OpenReply
from incv3d.tools.workers.process import WorkerFailed, WorkerProcess, take_turns
from incv3d.tools.workers.protocol import RunReply

WORKER = "incv3d.tools.bench.worker"


@dataclass(slots=True, eq=False)
class WorkerState:
    """An open worker and its measurements so far."""

    engine: str
    worker: WorkerProcess
    opened: OpenReply
    first_result_s: float = 0.0
    runs_s: list[float] = field(default_factory=list)
    slowed_down: list[bool] = field(default_factory=list)
    scores: tuple[float, ...] = ()


@dataclass(slots=True)
class Measurements:
    """The measurements of all engines."""

    measurements: list[Measurement] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)
    interrupted: bool = False


def measure(
    jobs: Sequence[EngineJob],
    runs: int,
    throttle: ThrottleMonitor,
    progress: Callable[[str, int], None],
    together: bool = True,
) -> Measurements:
    """Run every job `runs` times, each in its own process.

    Ctrl-C ends the measurement early and keeps the results so far.

    :param progress: called with an engine and the number of its completed runs.
    :param together: False: one engine after the other, for a machine without memory for all at once.
    """
    found = Measurements()
    for group in [jobs] if together else [[job] for job in jobs]:
        if not found.interrupted:
            _measure_together(group, runs, throttle, progress, found)
    return found


def _measure_together(
    jobs: Sequence[EngineJob],
    runs: int,
    throttle: ThrottleMonitor,
    progress: Callable[[str, int], None],
    found: Measurements,
) -> None:
    with contextlib.ExitStack() as stack:
        states: list[WorkerState] = []
        try:
            for job in jobs:
                progress(job.engine, 0)
                worker = WorkerProcess(WORKER, job)
                stack.callback(worker.kill)
                try:
                    state = WorkerState(job.engine, worker, worker.receive(OpenReply))
                    _run(state, throttle)
                    state.first_result_s = time.perf_counter() - worker.started
                    states.append(state)
                    progress(job.engine, 1)
                except WorkerFailed as error:
                    found.unavailable.append(Unavailable(engine=job.engine, reason=str(error)))
            for _, state in take_turns(states, runs - 1):
                try:
                    _run(state, throttle)
                except WorkerFailed as error:
                    reason = f"stopped after {len(state.runs_s)} runs: {error}"
                    found.unavailable.append(Unavailable(engine=state.engine, reason=reason))
                    states.remove(state)
                else:
                    progress(state.engine, len(state.runs_s))
        except KeyboardInterrupt:
            found.interrupted = True
        for state in states:
            try:
                found.measurements.append(_finish(state))
            except WorkerFailed as error:
                reason = f"its memory could not be read after {len(state.runs_s)} runs: {error}"
                found.unavailable.append(Unavailable(engine=state.engine, reason=reason))


def _run(state: WorkerState, throttle: ThrottleMonitor) -> None:
    before = throttle.slowed_down()
    reply = state.worker.ask("run", RunReply)
    state.runs_s.append(reply.run_s)
    state.slowed_down.append(before or throttle.slowed_down())
    state.scores = state.scores or reply.scores


def _finish(state: WorkerState) -> Measurement:
    opened, memory = state.opened, state.worker.memory()
    return Measurement(
        engine=state.engine,
        version=opened.version,
        import_s=opened.import_s,
        build_s=opened.build_s,
        first_result_s=state.first_result_s,
        decodes_in_graph=opened.decodes_in_graph,
        devices=opened.devices,
        runs_s=tuple(state.runs_s),
        slowed_down=tuple(state.slowed_down),
        scores=state.scores,
        peak_mb=memory.peak_mb,
        anonymous_mb=memory.anonymous_mb,
    )
