"""Parse what TensorFlow's executor did during a run from a serialized ``RunMetadata``.

It works without TensorFlow, so that the timed process need not import it. It reads ``step_stats`` (field 1)
of ``RunMetadata``, its ``dev_stats`` (1) and their ``node_stats`` (2). A NodeExecStats has the node's name in
field 1, ``op_start_rel_nanos`` and ``op_end_rel_nanos`` in 14 and 15, relative to ``all_start_nanos`` in 13,
and a label "name = Operation(inputs)" in 8 (tensorflow/core/framework/step_stats.proto). The clock is the
system's real time, ``time.time_ns`` in Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from incv3d.models.graph.graphdef_reader import LENGTH, VARINT, fields, varint

TRACED_RUN_OPTIONS = bytes([1 << 3, 1])
"""A serialized ``RunOptions`` with ``trace_level`` (field 1) SOFTWARE_TRACE: the start and end of every
operation. FULL_TRACE adds nothing for processors and starts a profiler."""
LABEL = re.compile(r"= ([^(\s]+)\(")
NAME, LABELLED, START, OP_START, OP_END = 1, 8, 13, 14, 15


@dataclass(frozen=True, slots=True)
class Execution:
    """The execution of an operation; nanoseconds of real time."""

    name: str
    op: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Span:
    """The executor's time from the start of the first operation to the end of the last."""

    start_ns: int
    end_ns: int
    by_kind_ns: dict[str, float]
    """Time by kind of operation; time with several operations running is divided equally among them."""
    between_ns: float
    """Time without any operation running."""
    overlap_ns: float
    """Time that operations overlapped: their sum minus the time that they covered."""


def parse_trace(data: bytes) -> list[Execution]:
    """Return the operations in a serialized ``RunMetadata``.

    :raises ValueError: if it is not valid or contains no operation.
    """
    found = [
        _execution(data, *node)
        for step in _messages(data, 1, 0, len(data))
        for device in _messages(data, 1, *step)
        for node in _messages(data, 2, *device)
    ]
    if not found:
        raise ValueError("the trace contains no operations")
    return found


def share_out(executions: Sequence[Execution], kind_of: Callable[[Execution], str]) -> Span:
    """Divide the executor's time among kinds of operations, so that the parts add up to the total."""
    by_kind: defaultdict[str, float] = defaultdict(float)
    between = 0.0
    start, end = min(e.start_ns for e in executions), max(e.end_ns for e in executions)
    reached = start
    active: list[str] = []
    for at, begins, kind in _edges(executions, kind_of):
        passed = at - reached
        for each in active:
            by_kind[each] += passed / len(active)
        between += 0 if active else passed
        if begins:
            active.append(kind)
        else:
            active.remove(kind)
        reached = at
    together = sum(e.end_ns - e.start_ns for e in executions)
    return Span(start, end, dict(by_kind), between, together - (end - start - between))


def _edges(
    executions: Iterable[Execution], kind_of: Callable[[Execution], str]
) -> list[tuple[int, bool, str]]:
    edges = []
    for each in executions:
        kind = kind_of(each)
        edges += [(each.start_ns, True, kind), (each.end_ns, False, kind)]
    # At the same moment, starts come first: an operation without duration must start before it ends.
    return sorted(edges, key=lambda edge: (edge[0], not edge[1]))


def _messages(data: bytes, number: int, start: int, end: int) -> Iterable[tuple[int, int]]:
    return [(s, e) for field, kind, s, e in fields(data, start, end) if field == number and kind == LENGTH]


def _execution(data: bytes, start: int, end: int) -> Execution:
    texts: dict[int, str] = {}
    numbers: dict[int, int] = {}
    for field, kind, s, e in fields(data, start, end):
        if kind == LENGTH and field in (NAME, LABELLED):
            texts[field] = data[s:e].decode("utf-8", "replace")
        elif kind == VARINT:
            numbers[field], _ = varint(data, s, e)
    label = LABEL.search(texts.get(LABELLED, ""))
    began = numbers.get(START, 0)
    return Execution(
        name=texts.get(NAME, ""),
        op=label[1] if label else texts.get(NAME, ""),
        start_ns=began + numbers.get(OP_START, 0),
        end_ns=began + max(numbers.get(OP_START, 0), numbers.get(OP_END, 0)),
    )
