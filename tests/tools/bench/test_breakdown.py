"""Many rounds to one breakdown."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from incv3d.tools.bench.breakdown import Round, answers, breakdown_table, summarize
from incv3d.tools.bench.worker_protocol import TraceReply

MS = 1_000_000


def one_round(wall_ms: float = 10.0, slowed_down: bool = False, empty_ms: float = 0.2) -> Round:
    """A run of which 0.5 ms lie outside of the executor."""
    traced = TraceReply(
        wall_ns=int(wall_ms * MS),
        decode_ns=1 * MS,
        resize_ns=2 * MS,
        by_op_ns={"Conv2D": (wall_ms - 4.01) * MS, "Softmax": 0.01 * MS},
        between_ns=0.5 * MS,
        outside_ns=0.5 * MS,
        overlap_ns=0.0,
    )
    return Round(wall_ms - 0.3, traced, empty_ms, slowed_down)


def test_the_parts_and_the_tracing_are_the_traced_run_and_the_parts_alone_the_usual_one() -> None:
    found = summarize("plain", [one_round() for _ in range(8)])
    assert found.parts_ms == pytest.approx(
        {
            "decode": 1.0, "resize and scale": 2.0, "Conv2D": 5.99, "other operations": 0.01,
            "executor, between operations": 0.5, "binding: call and return": 0.2,
        }
    )  # fmt: skip
    assert found.tracing_ms == pytest.approx(0.3)
    assert found.traced_percent == pytest.approx(100)
    assert found.usual_percent == pytest.approx(100)


def test_a_call_that_waited_for_its_turn_does_not_make_a_part_negative() -> None:
    found = summarize("lean", [one_round(empty_ms=3.0)])
    assert found.parts_ms["binding: call and return"] == pytest.approx(0.5)
    assert found.tracing_ms == 0


def test_the_slowest_and_the_fastest_quarter_do_not_count() -> None:
    found = summarize("lean", [one_round(each) for each in (5, 10, 10, 10, 10, 10, 10, 500)])
    assert found.traced_ms == pytest.approx(10)
    assert found.usual_ms == pytest.approx(9.7)


def test_rounds_of_a_throttled_machine_are_left_out_and_counted() -> None:
    found = summarize("lean", [*[one_round() for _ in range(4)], *[one_round(50, True) for _ in range(4)]])
    assert (found.traced_ms, found.slowed_down, found.runs) == (pytest.approx(10), 4, 8)
    assert any("left out 4 rounds with the machine throttled" in line for line in answers([found]))


def test_the_table_has_both_engines_side_by_side_and_what_only_one_has() -> None:
    plain, lean = summarize("plain", [one_round()]), summarize("lean", [one_round(8.0)])
    lean = msgspec.structs.replace(lean, parts_ms={"Fused": 3.0})
    rows = {row[0]: row[1:] for row in breakdown_table([plain, lean], "t").rows}
    assert rows["Conv2D"] == ("5.990", "61.8", "", "")
    assert rows["Fused"] == ("", "", "3.000", "100.0")
    assert rows["run without tracing"] == ("9.700", "", "7.700", "")


def test_the_published_question_is_answered_from_the_measured_share() -> None:
    said = list(answers([summarize("plain", [one_round()])]))
    assert "Python's binding takes 0.20 ms (2.1 %)" in said[1]
    assert said[-1].startswith("Is Python the reason")
    assert "No: here the binding is 2.1 % of a run" in said[-1]
    assert "1.98 s / 3.8 = 0.52 s" in said[-1]
    slow = one_round(empty_ms=9.0)
    heavy = replace(slow, traced=msgspec.structs.replace(slow.traced, outside_ns=5.0 * MS))
    assert "In part: here the binding is 51.5 %" in list(answers([summarize("plain", [heavy])]))[-1]
