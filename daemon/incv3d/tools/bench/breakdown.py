"""Measure where the time of a run goes: decoding, resizing, TensorFlow's operations, the binding around them.

The published question is why Python took 1.98 s while the C++ tool was said to take 0.5 s. Three kinds of
runs take turns: normal; traced, which records the start and end of every operation; and an empty call of
the same form, which shows the cost of the call. Two checks: the parts, by TensorFlow's clock, plus the time
for tracing add up to the wall time of a traced run, by Python's clock; the parts alone add up to that of a
normal run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from incv3d.tools.bench.engines import TITLES
from incv3d.tools.bench.interleave import WORKER
from incv3d.tools.bench.measurements import Unavailable
from incv3d.tools.bench.published_table import CPP_TOOL_S, PI3_AVERAGE_S, V1_MULTIPLY_ADDS, V3_MULTIPLY_ADDS
from incv3d.tools.bench.tables import Table
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor
from incv3d.tools.bench.worker_protocol import EngineJob, OpenReply, TraceReply
from incv3d.tools.workers.process import WorkerFailed, WorkerProcess, take_turns
from incv3d.tools.workers.protocol import RunReply

LEAST_SHARE = 0.005
"""A type of operation that takes a smaller share of a run has no separate row."""
DECODE, RESIZE, OTHERS = "decode", "resize and scale", "other operations"
BETWEEN, BINDING = "executor, between operations", "binding: call and return"
Value = TypeVar("Value")


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one engine's run; milliseconds, means over the middle half of the runs."""

    engine: str
    runs: int
    parts_ms: dict[str, float]
    """The parts of a run, in the order of the table, without the time for tracing."""
    tracing_ms: float
    """Additional time of a traced run."""
    traced_ms: float
    """Wall time of a traced run."""
    usual_ms: float
    """Wall time of a run that is not traced."""
    overlap_ms: float
    """Time that operations overlapped: their sum minus the time that they covered."""
    slowed_down: int = 0
    """Rounds in which the machine was throttled or hot; left out unless there were no others."""

    @property
    def sum_ms(self) -> float:
        """Sum of the parts."""
        return sum(self.parts_ms.values())

    @property
    def traced_percent(self) -> float:
        """Parts and tracing in percent of a traced run's wall time, which compares the two clocks."""
        return (self.sum_ms + self.tracing_ms) / self.traced_ms * 100

    @property
    def usual_percent(self) -> float:
        """The parts in percent of the wall time of a run that is not traced."""
        return self.sum_ms / self.usual_ms * 100


@dataclass(frozen=True, slots=True)
class Round:
    """One run of each kind."""

    usual_ms: float
    """Wall time of a normal run."""
    traced: TraceReply
    empty_ms: float
    """Time of an empty call."""
    slowed_down: bool
    """Whether the machine was throttled or hot meanwhile."""


def break_down(
    jobs: Sequence[EngineJob],
    warmup_runs: int,
    runs: int,
    throttle: ThrottleMonitor,
    progress: Callable[[str, int], None],
) -> tuple[list[Breakdown], list[Unavailable]]:
    """Break down the runs of each job; the jobs take turns.

    :param progress: called with an engine and the number of its completed rounds.
    """
    unavailable: list[Unavailable] = []
    rounds: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        workers: list[tuple[str, WorkerProcess]] = []
        for job in jobs:
            progress(job.engine, 0)
            worker = WorkerProcess(WORKER, job)
            stack.callback(worker.kill)
            try:
                _warm_up(worker, warmup_runs)
                workers.append((job.engine, worker))
            except WorkerFailed as error:
                unavailable.append(Unavailable(engine=job.engine, reason=str(error)))
        for number, each in take_turns(workers, runs):
            engine, worker = each
            try:
                one = _round(worker, throttle, traced_first=number % 2 > 0)
            except WorkerFailed as error:
                reason = f"stopped after {number} rounds: {error}"
                unavailable.append(Unavailable(engine=engine, reason=reason))
                workers.remove(each)
            else:
                rounds.setdefault(engine, []).append(one)
                progress(engine, number + 1)
    return [summarize(engine, found) for engine, found in rounds.items()], unavailable


def _warm_up(worker: WorkerProcess, runs: int) -> None:
    worker.receive(OpenReply)
    for _ in range(runs):
        worker.ask("run", RunReply)
    worker.ask("trace", TraceReply)  # the first one creates another executor
    worker.ask("empty", RunReply)


def _round(worker: WorkerProcess, throttle: ThrottleMonitor, traced_first: bool) -> Round:
    """Make one run of each kind; the order alternates, because the second run finds warmer caches."""
    hot = throttle.slowed_down()
    traced = worker.ask("trace", TraceReply) if traced_first else None
    usual = worker.ask("run", RunReply)
    traced = traced or worker.ask("trace", TraceReply)
    empty = worker.ask("empty", RunReply)
    return Round(usual.run_s * 1000, traced, empty.run_s * 1000, hot or throttle.slowed_down())


def summarize(engine: str, rounds: Sequence[Round]) -> Breakdown:
    """Summarize one or more rounds."""
    cool = [each for each in rounds if not each.slowed_down] or rounds
    middle: list[TraceReply] = middle_half([each.traced for each in cool], key=lambda traced: traced.wall_ns)

    def mean_ms(of: Callable[[TraceReply], float]) -> float:
        return statistics.fmean(map(of, middle)) / 1e6

    outside = mean_ms(lambda traced: traced.outside_ns)
    binding = min(outside, statistics.median(each.empty_ms for each in cool))
    names = dict.fromkeys(op for traced in middle for op in traced.by_op_ns)
    ops = {op: statistics.fmean(t.by_op_ns.get(op, 0.0) for t in middle) / 1e6 for op in names}
    wall = mean_ms(lambda traced: traced.wall_ns)
    parts = {DECODE: mean_ms(lambda t: t.decode_ns), RESIZE: mean_ms(lambda t: t.resize_ns)}
    by_size = sorted(ops.items(), key=lambda item: -item[1])
    largest = {op: ms for op, ms in by_size if ms >= LEAST_SHARE * wall}
    parts |= largest
    parts[OTHERS] = sum(ms for op, ms in ops.items() if op not in largest)
    parts[BETWEEN] = mean_ms(lambda t: t.between_ns)
    parts[BINDING] = binding
    return Breakdown(
        engine=engine,
        runs=len(rounds),
        parts_ms=parts,
        tracing_ms=outside - binding,
        traced_ms=wall,
        usual_ms=statistics.fmean(middle_half([each.usual_ms for each in cool], key=float)),
        overlap_ms=mean_ms(lambda t: t.overlap_ns),
        slowed_down=sum(each.slowed_down for each in rounds),
    )


def middle_half(values: Sequence[Value], key: Callable[[Value], float]) -> list[Value]:
    """Return the values without the smallest and the largest quarter."""
    ordered = sorted(values, key=key)
    quarter = len(ordered) // 4
    return ordered[quarter : len(ordered) - quarter]


def breakdown_table(found: Sequence[Breakdown], title: str) -> Table:
    """Return a table of the parts, with columns for each engine."""
    headings = [heading for each in found for heading in (f"{TITLES[each.engine]}, ms", "%")]
    table = Table(title, ("part", *headings))
    rows = list(dict.fromkeys(part for each in found for part in each.parts_ms))
    # Operations come in the order of their size, before the parts that every engine has.
    rows.sort(key=lambda part: (_place(part), -max(each.parts_ms.get(part, 0.0) for each in found)))
    for part in rows:
        table.add(part, *(cell for each in found for cell in _cells(each, each.parts_ms.get(part))))
    table.add("sum", *(cell for each in found for cell in _cells(each, each.sum_ms)))
    table.add("run without tracing", *(cell for each in found for cell in (f"{each.usual_ms:.3f}", "")))
    return table


def _place(part: str) -> int:
    order = {DECODE: 0, RESIZE: 1, OTHERS: 3, BETWEEN: 4, BINDING: 5}
    return order.get(part, 2)


def _cells(each: Breakdown, ms: float | None) -> tuple[str, str]:
    if ms is None:
        return "", ""
    return f"{ms:.3f}", f"{ms / each.sum_ms * 100:.1f}"


def answers(found: Sequence[Breakdown]) -> Iterator[str]:
    """Explain the figures in sentences, and answer the published question."""
    for each in found:
        title = TITLES[each.engine]
        yield (
            f"{title}: the parts and {each.tracing_ms:.2f} ms for tracing are {each.traced_percent:.1f} % "
            f"of a traced run ({each.traced_ms:.1f} ms); the parts alone are {each.usual_percent:.1f} % "
            f"of a run without tracing ({each.runs} rounds)"
        )
        if each.slowed_down:
            yield f"{title}: left out {each.slowed_down} rounds with the machine throttled or hot"
        if each.overlap_ms > each.sum_ms / 100:
            yield (
                f"{title}: operations overlapped for {each.overlap_ms:.1f} ms, "
                "counted once and divided among them"
            )
    for each in found:
        binding = each.parts_ms[BINDING]
        yield (
            f"{TITLES[each.engine]}: of {each.usual_ms:.1f} ms per run, Python's binding takes "
            f"{binding:.2f} ms ({binding / each.usual_ms * 100:.1f} %), decoding and resizing "
            f"{each.parts_ms[DECODE] + each.parts_ms[RESIZE]:.2f} ms"
        )
    plain = next((each for each in found if each.engine == "plain"), None)
    if plain:
        share = plain.parts_ms[BINDING] / plain.usual_ms
        ratio = V3_MULTIPLY_ADDS / V1_MULTIPLY_ADDS
        yield (
            f"Is Python the reason that the Raspberry Pi 3 took {PI3_AVERAGE_S:.2f} s while the C++ tool "
            f"took {CPP_TOOL_S} s? {'No' if share < 0.1 else 'In part'}: here the binding is "
            f"{share * 100:.1f} % of a run. The C++ tool's default network is Inception v1 at 224x224, "
            f"without decoding, with {ratio:.1f} times fewer multiply-adds: {PI3_AVERAGE_S:.2f} s / "
            f"{ratio:.1f} = {PI3_AVERAGE_S / ratio:.2f} s"
        )
