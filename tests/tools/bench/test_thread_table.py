"""The table of runs with one thread and with several."""

from __future__ import annotations

from typing import Any

from incv3d.tools.bench.machine_info import describe_machine
from incv3d.tools.bench.measurements import Measurement, Unavailable
from incv3d.tools.bench.report import Report
from incv3d.tools.bench.thread_table import thread_notes, thread_table


def measurement(engine: str, *runs_ms: float, hot: bool = False, peak_mb: float = 100) -> Measurement:
    return Measurement(
        engine=engine, version="1.2", import_s=0.5, build_s=0.25, first_result_s=1.5, decodes_in_graph=False,
        devices=(), runs_s=tuple(each / 1000 for each in runs_ms), slowed_down=(hot,) * len(runs_ms),
        scores=(0.9, 0.1), peak_mb=peak_mb, anonymous_mb=90,
    )  # fmt: skip


def report(threads: int, *measurements: Measurement, **more: Any) -> Report:
    facts: dict[str, Any] = {
        "device": describe_machine(), "model": "m", "random_weights": False, "picture": "cat.jpg",
        "warmup_runs": 1, "num_runs": 3, "interleaved": True, "interrupted": False, "unavailable": (),
    }  # fmt: skip
    return Report(threads=threads, measurements=measurements, **{**facts, **more})


def test_a_row_has_an_engine_with_one_thread_and_with_several() -> None:
    one = report(1, measurement("lean", 999, 300, 400, 500), measurement("litert-int8", 999, 190, 200, 210))
    four = report(4, measurement("lean", 999, 100, 110, 150), measurement("litert-int8", 999, 50, 60, 70))
    table = thread_table([one, four])
    assert table.headings == ("network", "engine", "1 thread, ms", "4 threads, ms", "peak MB")
    assert table.rows == [
        ("m", "lean Session 1.2", "400 (300 to 500)", "110 (100 to 150)", "100"),
        ("m", "LiteRT int8 1.2", "200 (190 to 210)", "60 (50 to 70)", "100"),
    ]


def test_an_engine_that_one_report_lacks_is_still_shown() -> None:
    both = thread_table([report(1, measurement("lean", 9, 9, 9)), report(4, measurement("litert", 9, 5, 5))])
    assert [row[1:4] for row in both.rows] == [
        ("lean Session 1.2", "9 (9 to 9)", "not measured"),
        ("LiteRT 1.2", "not measured", "5 (5 to 5)"),
    ]


def test_hot_runs_are_marked_and_the_larger_peak_counts() -> None:
    hot = measurement("lean", 9, 9, 9, hot=True, peak_mb=120)
    table = thread_table([report(1, measurement("lean", 9, 9, 9)), report(4, hot)])
    assert table.rows == [("m", "lean Session 1.2", "9 (9 to 9)", "9 (9 to 9)*", "120")]


def test_notes_say_what_a_run_includes_and_each_thing_once() -> None:
    missing = (Unavailable(engine="litert-int8", reason="not converted"),)
    reports = [report(threads, measurement("lean", 9, 9, 9), unavailable=missing) for threads in (1, 4)]
    said = list(thread_notes(reports))
    assert "the estimates for a Raspberry Pi 3 do not include decoding" in said[0]
    assert sum("not converted" in each for each in said) == 1
