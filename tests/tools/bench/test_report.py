"""What the tables and notes say of measurements that are made up."""

from __future__ import annotations

from typing import Any

import msgspec

from incv3d.tools.bench.machine_info import describe_machine
from incv3d.tools.bench.measurements import Measurement, Unavailable
from incv3d.tools.bench.report import Report, as_builtins, comparison_table, notes, published_table


def measurement(engine: str, ms: float, scores: tuple[float, ...] = (0.9, 0.1), **more: Any) -> Measurement:
    runs = (ms * 3 / 1000, *(ms / 1000,) * 6)
    return Measurement(
        engine=engine, version="1", import_s=0.5, build_s=0.25, first_result_s=1.5, decodes_in_graph=True,
        devices=(), runs_s=runs, slowed_down=(False,) * 7, scores=scores, peak_mb=300, anonymous_mb=90,
        **more,
    )  # fmt: skip


def report(*measurements: Measurement, **more: Any) -> Report:
    facts: dict[str, Any] = {
        "device": describe_machine(), "model": "m", "random_weights": False, "picture": "cat.jpg",
        "threads": 2, "warmup_runs": 2, "num_runs": 5, "interleaved": True, "interrupted": False,
        "unavailable": (),
    }  # fmt: skip
    return Report(measurements=measurements, **{**facts, **more})


def test_the_warm_row_leaves_out_the_first_run_and_the_cold_row_has_it() -> None:
    rows = [row for row in published_table(report(measurement("plain", 50))).rows if "here" in row[1]]
    warm, cold = rows
    assert warm[:5] == ("2", "here: plain Session", "0.0500", "0.0500", "0.0500")
    assert cold[:5] == ("0", "here: plain Session", "0.0500", "0.1500", "0.0700")
    assert warm[5:] == ("0.2500", "0.5000", "0.1500", "1.5000", "300")


def test_ratios_are_of_medians_against_the_plain_session() -> None:
    table = comparison_table(report(measurement("plain", 50), measurement("lean", 25, (0.9, 0.1001))))
    assert [row[2:4] for row in table.rows] == [("50.0", "1.00"), ("25.0", "0.50")]
    assert table.rows[1][-1] == "1.0e-04"


def test_the_loser_is_named_and_int8_does_not_count_as_the_same_weights() -> None:
    said = list(
        notes(
            report(
                measurement("plain", 50), measurement("lean", 25), measurement("litert-int8", 5),
                measurement("onnxruntime", 24), measurement("opencv", 30),
            )
        )
    )  # fmt: skip
    assert "lean Session LOSES to ONNX Runtime: 25.0 against 24.0 ms (1.04)" in said
    assert "lean Session is at least as fast as OpenCV DNN: 25.0 against 30.0 ms (0.83)" in said


def test_scores_that_differ_make_a_time_worthless() -> None:
    said = list(notes(report(measurement("plain", 50), measurement("openvino", 10, (0.8, 0.2)))))
    assert "OpenVINO DOES NOT AGREE: its scores differ by up to 1.0e-01; do not compare its times" in said
    said = list(notes(report(measurement("plain", 50), measurement("opencv", 10, (0.8,)))))
    assert any("OpenCV DNN DOES NOT AGREE: its scores differ in number" in line for line in said)


def test_throttled_runs_are_marked_and_the_average_without_them_is_given() -> None:
    marked = msgspec.structs.replace(
        measurement("lean", 10),
        runs_s=(0.01, 0.01, 0.01, 0.01, 0.05, 0.01, 0.01),
        slowed_down=(False,) * 4 + (True,) + (False,) * 2,
    )
    found = report(marked)
    assert any(row[1] == "here: lean Session*" for row in published_table(found).rows)
    assert (
        "* lean Session, 2 warm-up runs: 1 of 5 runs were made while the machine was throttled or hot; "
        "average of the others 0.0100 s"
    ) in list(notes(found))
    assert comparison_table(found).rows[0][2] == "10.0"


def test_random_weights_are_marked_in_every_form() -> None:
    found = report(measurement("plain", 50), random_weights=True)
    assert "random weights: timing only" in published_table(found).markdown()
    assert as_builtins(found)["weights"] == "random weights: timing only"
    assert any("random weights: timing only" in line for line in notes(found))


def test_what_was_not_measured_or_not_interleaved_is_said() -> None:
    found = report(
        measurement("lean", 10), measurement("litert", 9), interleaved=False,
        unavailable=(Unavailable(engine="plain", reason="too little memory"),),
    )  # fmt: skip
    said = list(notes(found))
    assert "not measured: plain Session: too little memory" in said
    assert any(line.startswith("NOT interleaved") for line in said)


def test_an_interrupted_benchmark_without_a_warm_run_still_has_its_cold_row() -> None:
    short = msgspec.structs.replace(measurement("plain", 50), runs_s=(0.1,), slowed_down=(False,))
    found = report(short, interrupted=True)
    rows = [row for row in published_table(found).rows if "here" in row[1]]
    assert [row[0] for row in rows] == ["0"]
    assert any("interrupted" in line for line in notes(found))
