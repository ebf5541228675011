"""Where the time of a run goes: decoding, resizing, TensorFlow's operations, and the binding around them.

The published question is why Python took 1.98 s where the C++ tool was said to take 0.5 s. Three kinds of
runs take turns: as usual; traced, which says when every operation began and ended; and a call of the same
form that runs nothing, which says what calling costs. Two checks: the parts, by TensorFlow's clock, and the
time that tracing takes add up to the wall time of a traced run, by Python's; the parts alone add up to that
of a usual run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from incv3d.tools.bench.engines import TITLES
from incv3d.tools.bench.interleave import BREATH_S
from incv3d.tools.bench.measurements import Unavailable
from incv3d.tools.bench.published_table import CPP_TOOL_S, PI3_AVERAGE_S, V1_MULTIPLY_ADDS, V3_MULTIPLY_ADDS
from incv3d.tools.bench.tables import Table
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor
from incv3d.tools.bench.worker_process import WorkerFailed, WorkerProcess
from incv3d.tools.bench.worker_protocol import Job, TraceReply

LEAST_SHARE = 0.005
"""A type of operation that takes less of a run has no row of its own."""
DECODE, RESIZE, OTHERS = "decode", "resize and scale", "other operations"
BETWEEN, BINDING = "executor, between operations", "binding: call and return"
Value = TypeVar("Value")


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's run, taken apart; milliseconds, means over the middle half of the runs."""

    engine: str
    runs: int
    parts_ms: dict[str, float]
    """What a run consists of, in the order of the table, without the time that tracing takes."""
    tracing_ms: float
    """What a traced run takes besides."""
    traced_ms: float
    """The wall time of a traced run."""
    usual_ms: float
    """The wall time of a run that is not traced."""
    overlap_ms: float
    """How much longer the operations took together than the time that they covered: some ran side by side."""
    slowed_down: int = 0
    """Rounds during which the machine was throttled or hot; left out, unless there were no others."""

    @property
    def sum_ms(self) -> float:
        """Of the parts."""
        return sum(self.parts_ms.values())

    @property
    def traced_percent(self) -> float:
        """The parts and the tracing, of the wall time of a traced run: one clock against the other."""
        return (self.sum_ms + self.tracing_ms) / self.traced_ms * 100

    @property
    def usual_percent(self) -> float:
        """The parts, of the wall time of a run that is not traced."""
        return self.sum_ms / self.usual_ms * 100


@dataclass(frozen=True, slots=True)
class Round:
    """One run of each kind."""

    usual_ms: float
    """The wall time of a usual run."""
    traced: TraceReply
    empty_ms: float
    """The time of a call that runs nothing."""
    slowed_down: bool
    """The machine was throttled or hot meanwhile."""


def break_down(
    jobs: Sequence[Job],
    warmup_runs: int,
    runs: int,
    heat: ThrottleMonitor,
    progress: Callable[[str, int], None],
) -> tuple[list[Breakdown], list[Unavailable]]:
    """Take the runs of each job apart; they take turns.

    :param progress: told the engine and how many of its rounds are done.
    """
    unavailable: list[Unavailable] = []
    rounds: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        children = []
        for job in jobs:
            progress(job.engine, 0)
            child = WorkerProcess(job)
            stack.callback(child.kill)
            try:
                child.opened()
                for _ in range(warmup_runs):
                    child.run()
                child.trace()  # the first one makes an executor of its own
                child.empty()
                children.append(child)
            except WorkerFailed as error:
                unavailable.append(Unavailable(engine=job.engine, reason=str(error)))
        for done in range(runs):
            for child in list(children):
                time.sleep(BREATH_S)
                try:
                    one = _round(child, heat, traced_first=done % 2 > 0)
                except WorkerFailed as error:
                    reason = f"stopped after {done} rounds: {error}"
                    unavailable.append(Unavailable(engine=child.engine, reason=reason))
                    children.remove(child)
                else:
                    rounds.setdefault(child.engine, []).append(one)
                    progress(child.engine, done + 1)
    return [summarise(engine, found) for engine, found in rounds.items()], unavailable


def _round(child: WorkerProcess, heat: ThrottleMonitor, traced_first: bool) -> Round:
    """One run of each kind; which comes first is changed about, because the second finds warmer caches."""
    hot = heat.slowed_down()
    traced = child.trace() if traced_first else None
    usual = child.run()
    traced = traced or child.trace()
    empty = child.empty()
    return Round(usual.run_s * 1000, traced, empty.run_s * 1000, hot or heat.slowed_down())


def summarise(engine: str, rounds: Sequence[Round]) -> Breakdown:
    """One breakdown of many rounds, at least one."""
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
    """The values without the smallest and the largest quarter."""
    ordered = sorted(values, key=key)
    quarter = len(ordered) // 4
    return ordered[quarter : len(ordered) - quarter]


def breakdown_table(found: Sequence[Breakdown], title: str) -> Table:
    """The parts side by side."""
    headings = [heading for each in found for heading in (f"{TITLES[each.engine]}, ms", "%")]
    table = Table(title, ("part", *headings))
    rows = list(dict.fromkeys(part for each in found for part in each.parts_ms))
    # What only one of the engines has comes in the order of its size, before what all have at the end.
    rows.sort(key=lambda part: (_place(part), -max(each.parts_ms.get(part, 0.0) for each in found)))
    for part in rows:
        table.add(part, *(cell for each in found for cell in _cells(each, each.parts_ms.get(part))))
    table.add("sum", *(cell for each in found for cell in _cells(each, each.sum_ms)))
    table.add("a run that is not traced", *(cell for each in found for cell in (f"{each.usual_ms:.3f}", "")))
    return table


def _place(part: str) -> int:
    order = {DECODE: 0, RESIZE: 1, OTHERS: 3, BETWEEN: 4, BINDING: 5}
    return order.get(part, 2)


def _cells(each: Breakdown, ms: float | None) -> tuple[str, str]:
    if ms is None:
        return "", ""
    return f"{ms:.3f}", f"{ms / each.sum_ms * 100:.1f}"


def answers(found: Sequence[Breakdown]) -> Iterator[str]:
    """What the figures say, with the published question's answer."""
    for each in found:
        title = TITLES[each.engine]
        yield (
            f"{title}: the parts, and {each.tracing_ms:.2f} ms for tracing, are {each.traced_percent:.1f} % "
            f"of the {each.traced_ms:.1f} ms that a traced run takes; the parts alone are "
            f"{each.usual_percent:.1f} % of a run that is not traced ({each.runs} rounds)"
        )
        if each.slowed_down:
            yield f"{title}: {each.slowed_down} rounds while the machine was throttled or hot; left out"
        if each.overlap_ms > each.sum_ms / 100:
            yield (
                f"{title}: operations ran side by side for {each.overlap_ms:.1f} ms, "
                "which is shared among them and counted once"
            )
    for each in found:
        binding = each.parts_ms[BINDING]
        yield (
            f"{TITLES[each.engine]}: of {each.usual_ms:.1f} ms a run, Python's binding takes "
            f"{binding:.2f} ms ({binding / each.usual_ms * 100:.1f} %), decoding and resizing "
            f"{each.parts_ms[DECODE] + each.parts_ms[RESIZE]:.2f} ms"
        )
    plain = next((each for each in found if each.engine == "plain"), None)
    if plain:
        share = plain.parts_ms[BINDING] / plain.usual_ms
        ratio = V3_MULTIPLY_ADDS / V1_MULTIPLY_ADDS
        yield (
            f"Is Python to blame that the Raspberry Pi 3 took {PI3_AVERAGE_S:.2f} s where the C++ tool took "
            f"{CPP_TOOL_S} s? {'No' if share < 0.1 else 'In part'}: here {share * 100:.1f} % of a run is the "
            f"binding. That tool's default network is Inception v1 at 224x224, without decoding: "
            f"{ratio:.1f} times fewer multiply-adds, and {PI3_AVERAGE_S:.2f} s / {ratio:.1f} is "
            f"{PI3_AVERAGE_S / ratio:.2f} s"
        )
