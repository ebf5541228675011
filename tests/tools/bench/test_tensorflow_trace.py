"""Traces of TensorFlow's executor, parsed and shared out."""

from __future__ import annotations

import pytest

from graphs import field
from incv3d.tools.bench.tensorflow_trace import Execution, parse_trace, share_out


def node_stats(name: str, label: str, start: int, op_start: int, op_end: int) -> bytes:
    return field(
        2,
        field(1, name.encode()) + field(8, label.encode()) + field(13, start)
        + field(14, op_start) + field(15, op_end) + field(16, op_end + 5),
    )  # fmt: skip


def run_metadata(*nodes: bytes) -> bytes:
    device = field(1, b"/device:CPU:0") + b"".join(nodes)
    return field(1, field(1, device)) + field(2, b"\x0a\x00")


def test_operations_come_out_with_their_times() -> None:
    data = run_metadata(
        node_stats("Mul", "Mul:0 = Mul(Sub, Mul/y)", 1000, 10, 60),
        node_stats("softmax", "", 2000, 0, 7),
    )
    assert parse_trace(data) == [
        Execution("Mul", "Mul", 1010, 1060),
        Execution("softmax", "softmax", 2000, 2007),
    ]


@pytest.mark.parametrize("data", [b"", run_metadata(), b"\x0a\x7f", b"\xff" * 20])
def test_what_is_no_trace_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_trace(data)


def test_the_parts_add_up_to_the_span_whether_operations_overlap_or_not() -> None:
    executions = [
        Execution("a", "Conv2D", 100, 200),
        Execution("b", "Relu", 250, 300),  # 50 after a
        Execution("c", "Conv2D", 260, 320),  # beside b for 40
        Execution("d", "Softmax", 320, 320),  # of no length
    ]
    span = share_out(executions, lambda each: each.op)
    assert (span.start_ns, span.end_ns, span.between_ns) == (100, 320, 50)
    assert span.by_kind_ns["Conv2D"] == 100 + 40 / 2 + 20
    assert span.by_kind_ns["Relu"] == 10 + 40 / 2
    assert span.overlap_ns == 40
    assert sum(span.by_kind_ns.values()) + span.between_ns == span.end_ns - span.start_ns


def test_operations_inside_one_another_are_shared_too() -> None:
    span = share_out([Execution("a", "A", 0, 100), Execution("b", "B", 20, 40)], lambda each: each.op)
    assert span.by_kind_ns == {"A": 90, "B": 10}
    assert span.between_ns == 0
