"""``incv3d bench`` itself, with the real engines and few runs."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doubles import jpeg
from incv3d.errors import pip_install
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, environment, run_incv3d

pytestmark = pytest.mark.slow

FEW = ("--num_runs", "3", "--warmup_runs", "1")
CAT = demo_folder() / "cat.jpg"


def bench(state: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return run_incv3d(state, "bench", "--model", "efficientnet-lite0", *words, **extra)


@pytest.fixture(scope="module")
def table(state: Path) -> str:
    """What the command prints for the lean Session."""
    done = bench(state, *FEW, "--engines", "lean", "--image", str(CAT))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report(state: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it says to programs, of all engines; it also draws."""
    plot = tmp_path_factory.mktemp("plot") / "runs.png"
    words = ("--num-runs", "3", "--warmup-runs", "1", "--engines", "all", "--json", "--plot", str(plot))
    done = bench(state, *words)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "plotted": plot.read_bytes()[:8]}


def test_the_published_lines_are_printed(table: str) -> None:
    run = r"Run 00\d:\t\d\.\d{4} seconds\n"
    block = (
        rf"(?:{run}){{3}}---\nBest run: (\d\.\d{{4}})\nWorst run: (\d\.\d{{4}})\nAverage run: (\d\.\d{{4}})\n"
        r"Build graph time: \d\.\d{4}\nNumber of warmup runs: 1\nNumber of test runs: 3\n"
    )
    found = re.search(block, table)
    assert found, table
    best, worst, average = map(float, found.groups())
    assert 0 < best <= average <= worst


def test_the_published_rows_are_shown_with_this_machines_warm_and_cold_ones(table: str) -> None:
    rows = [line.split() for line in table.splitlines() if re.match(r" *\d+ +(Raspberry|here)", line)]
    assert [row[0] for row in rows] == ["10", "1", "0", "0"]
    assert all("1.9805" in row or "2.0656" in row for row in rows if "Raspberry" in row)
    assert "image: " + str(CAT) in table
    assert "runs include incv3d's own decoding and resizing: lean Session" in table
    assert "TensorFlow sees CPU:0" in table


def test_programs_get_every_run_and_what_could_not_be_measured(report: dict[str, Any]) -> None:
    plain, lean = report["measurements"]
    assert (plain["engine"], lean["engine"]) == ("plain", "lean")
    for each in (plain, lean):
        assert len(each["runs_s"]) == 4 and min(each["runs_s"]) > 0
        assert [f["warmup_runs"] for f in each["figures"]] == [1, 0]
        warm, cold = each["figures"]
        assert cold["worst_s"] >= each["runs_s"][0] and warm["runs"] == cold["runs"] == 3
        assert 0 < each["import_s"] + each["build_s"] < each["first_result_s"]
        assert each["peak_mb"] > each["anonymous_mb"] > 10
    assert plain["peak_mb"] > lean["peak_mb"]
    assert lean["largest_score_difference"] < 1e-5
    reasons = {each["engine"]: each["reason"] for each in report["unavailable"]}
    assert set(reasons) == {"litert-float32", "litert-int8"}
    assert "incv3d model convert efficientnet-lite0 --to int8" in reasons["litert-int8"]
    assert report["published"][0]["machine"] == "Raspberry Pi 3"
    assert report["device"]["cores"] >= 1


def test_a_report_has_a_row_per_engine_with_one_thread_and_with_two(state: Path) -> None:
    done = bench(state, *FEW, "--report", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert "| network | engine | 1 thread, ms | 2 threads, ms | peak MB |" in done.stdout
    cell = r"\d+ \(\d+ to \d+\)\*?"
    assert re.search(
        rf"\| efficientnet-lite0 \| lean Session [\d.]+ \| {cell} \| {cell} \| \d+ \|", done.stdout
    )
    assert "not measured: LiteRT int8: not converted to int8" in done.stdout
    assert "measuring with 1 thread" in done.stderr


def test_the_runs_are_plotted(report: dict[str, Any]) -> None:
    assert report["plotted"] == b"\x89PNG\r\n\x1a\n"


def test_a_breakdown_has_no_negative_part_and_adds_up_to_the_traced_run(state: Path) -> None:
    done = bench(state, *FEW, "--breakdown", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["engine"] for each in found["breakdown"]] == ["plain", "lean"]
    for each in found["breakdown"]:
        parts = each["parts_ms"]
        assert min(parts.values()) >= 0 and each["tracing_ms"] >= 0, each
        # 2 % where the machine is quiet.
        assert sum(parts.values()) + each["tracing_ms"] == pytest.approx(each["traced_ms"], rel=0.1)
        assert parts["decode"] > 0 and parts["resize and scale"] > 0
        assert any("Conv2D" in part for part in parts)
        assert parts["binding: call and return"] < sum(parts.values()) / 2
    assert any("Is Python the reason" in line for line in found["notes"])


def test_where_the_graph_decodes_the_breakdown_finds_it_there(standin: Path) -> None:
    done = run_incv3d(
        standin, "bench", "--model", "standin", "--engines", "lean", *FEW, "--breakdown", "--markdown"
    )
    assert done.returncode == 0, done.stderr
    cells = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    parts = {row[0]: float(row[1]) for row in cells[2:]}
    assert parts["decode"] > 0 and parts["resize and scale"] > 0
    assert parts["sum"] == pytest.approx(
        sum(ms for part, ms in parts.items() if part not in ("sum", "run without tracing")), abs=0.02
    )


def test_a_scenario_is_run_on_the_daemon_s_own_classifier(state: Path) -> None:
    done = bench(state, "--scenario", "server", "--rate", "20", "--min-duration", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["engine"]["engine"] == "tensorflow"
    assert found["outcome"]["queries"] >= 10
    assert [each["percent"] for each in found["outcome"]["latency"]] == [50, 90, 99]


def test_onnx_runtime_is_measured_on_the_same_weights(state: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    done = bench(state, *FEW, "--engines", "lean", "--against", "onnxruntime", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["engine"] for each in found["measurements"]] == ["lean", "onnxruntime"]
    assert found["measurements"][1]["largest_score_difference"] < 1e-3
    assert any(re.search(r"(at least as fast as|LOSES to) ONNX Runtime", note) for note in found["notes"])


def test_a_runtime_that_is_not_installed_is_listed_with_the_command_that_installs_it(
    state: Path, tmp_path: Path
) -> None:
    # None in the place of a module says that there is none (the import system's own convention).
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['openvino'] = None\n")
    path = f"{tmp_path}:{Path(sys.modules['incv3d'].__file__ or '').parent.parent}"
    done = bench(state, *FEW, "--engines", "lean", "--against", "openvino", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert (
        f"not measured: OpenVINO: openvino is not installed; {pip_install('onnxruntime', 'openvino')}"
        in done.stdout
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--num_runs", "0"), 2, "Invalid value for '--num-runs'"),
        (
            ("--engines", "fast"),
            2,
            "unknown engine `fast`; choose from plain, lean, litert-float32, litert-int8, or all",
        ),
        (
            ("--against", "caffe"),
            2,
            "unknown engine `caffe`; choose from onnxruntime, openvino, opencv, or all",
        ),
        (("--image", "/nowhere.jpg"), 2, "/nowhere.jpg: cannot be read: No such file"),
        (("--image", __file__), 2, "test_bench.py: not a JPEG"),
        (("--plot", "/nowhere/runs.png"), 2, "/nowhere/runs.png: cannot be written"),
        (("--plot", "runs.gif"), 2, "must end in .png, .svg, .pdf"),
        (("--scenario", "server"), 2, "needs --rate, or --latency-bound-ms"),
        (("--rate", "3"), 2, "need --scenario server"),
        (("--breakdown", "--scenario", "offline"), 2, "cannot be used together"),
        (("--report", "--json"), 2, "--report cannot be used with --breakdown"),
        (("--breakdown", "--engines", "litert-int8"), 1, "--breakdown needs TensorFlow: a frozen graph"),
        (("--engines", "litert-int8"), 1, "nothing was measured: LiteRT int8: not converted to int8"),
        (("--model", "nothing-like-it"), 2, "no model `nothing-like-it`"),
    ],
)
def test_what_cannot_be_meant_is_said_so_in_one_line(
    state: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    done = bench(state, *words)
    assert done.returncode == status, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_damaged_jpeg_is_rejected_before_the_measurement(state: Path, tmp_path: Path) -> None:
    image = tmp_path / "cut.jpg"
    image.write_bytes(jpeg()[:300])
    done = bench(state, "--image", str(image))
    assert done.returncode == 2
    assert "damaged JPEG" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_engine_that_stops_does_not_take_the_others_with_it(state: Path, tmp_path: Path) -> None:
    model = tmp_path / "models/efficientnet-lite0"
    shutil.copytree(state / "models/efficientnet-lite0", model)
    # The plain Session reads the graph, the lean one its prepared form.
    graph = model / "graph.pb"
    graph.write_bytes(b"\0" * graph.stat().st_size)
    done = bench(tmp_path, *FEW, "--engines", "plain,lean")
    assert done.returncode == 0, done.stderr
    assert "here: lean Session" in done.stdout
    assert re.search(r"not measured: plain Session: .*graph\.pb: ", done.stdout)


def test_ctrl_c_prints_the_runs_that_were_made_and_leaves_no_process(state: Path) -> None:
    words = ["bench", "--model", "efficientnet-lite0", "--engines", "lean", "--num-runs", "90000", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "incv3d", *words],
        env=environment(state),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr and process.stderr.readline() == "lean Session: running\n"
        (child,) = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, said
    found = json.loads(out)
    assert found["interrupted"] and 1 <= len(found["measurements"][0]["runs_s"]) < 90000
    assert not Path(f"/proc/{child}").exists()


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
