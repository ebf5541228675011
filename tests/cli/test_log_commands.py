"""``incv3d log`` and ``incv3d plot``, as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from incv3d.frames import Refusal, Timings
from incv3d.latency.log_writer import LatencyLog, start_line, summary_line
from incv3d.latency.rolling import RollingLatency
from incv3d.machine import Readings
from processes import environment, run_incv3d

NOON = 1_767_268_800.0


def write_log(
    path: Path, begin_s: float = NOON, lines: int = 720, run_ms: float = 20.0, **readings: float
) -> Path:
    """A line every 10 s of a frame a second; the daemon is started anew after half of them."""
    log = LatencyLog(path, 100_000, 9)
    machine = Readings(readings.get("temp_c"), int(readings["bits"]) if "bits" in readings else None, 120.0)
    for part in range(2):
        start_s = begin_s + part * lines / 2 * 10
        rolling = RollingLatency(60, 1000, start_s)
        log.write(start_line(start_s, "start", {"model": "gamma", "engine": "litert", "threads": 4}))
        for number in range(1, lines // 2 + 1):
            end_s = start_s + number * 10
            for second in range(10):
                rolling.record(end_s - 9.5 + second, Timings(run_ms=run_ms + second, total_ms=40))
            rolling.count(end_s - 5, Refusal.BUSY)
            log.write(summary_line(end_s, rolling.summary(end_s), machine))
    log.close()
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "latency.log", temp_c=61.25, bits=0x40002)


def test_hours_and_the_total_are_shown(tmp_path: Path, log: Path) -> None:
    done = run_incv3d(tmp_path, "log", str(log))
    assert done.returncode == 0, done.stderr
    title, heading, first, second, total, since_boot = done.stdout.splitlines()
    assert title == f"{log} (3 files)"
    assert heading.split()[:4] == ["UTC", "covered", "frames", "fps"] and heading.endswith("throttled")
    assert first.split()[:4] == ["2026-01-01", "12:00", "60", "min"] and "frequency capped" in first
    assert second.startswith("2026-01-01 13:00") and total.startswith("all")
    assert " 7200 " in total and " 720 " in total and " 61.2 " in total and " 29.0 " in total, total
    assert since_boot == "since boot: throttled"


def test_programs_get_json_with_the_bounds_of_percentiles(tmp_path: Path, log: Path) -> None:
    done = run_incv3d(tmp_path, "log", str(log), "--per", "whole", "--json")
    (found,) = json.loads(done.stdout)["logs"]
    assert found["path"] == str(log) and found["damaged_lines"] == 0 and found["periods"] == []
    total = found["whole"]
    assert (total["frames"], total["busy"], total["starts"]) == (7200, 720, 2)
    assert (total["begin"], total["end"]) == ("2026-01-01T12:00:00Z", "2026-01-01T14:00:00Z")
    assert total["run"]["p95"]["low_ms"] <= total["run"]["p95"]["ms"] <= total["run"]["p95"]["high_ms"]
    assert (total["throttled"], total["throttled_since_boot"]) == (["frequency capped"], ["throttled"])


@pytest.mark.parametrize("since", ["2026-01-01T13:30", "2026-01-01T13:30:00Z", "2026-01-01T14:30+01:00"])
def test_what_is_older_is_left_out(tmp_path: Path, log: Path, since: str) -> None:
    done = run_incv3d(tmp_path, "log", str(log), "--since", since, "--json")
    (found,) = json.loads(done.stdout)["logs"]
    assert found["whole"]["frames"] == pytest.approx(1800, abs=60)
    assert len(found["periods"]) == 1


def test_long_logs_are_shown_by_day_and_old_ones_have_no_lines(tmp_path: Path) -> None:
    path = write_log(tmp_path / "latency.log", lines=4)
    write_log(path, begin_s=NOON + 3 * 86_400, lines=4)
    done = run_incv3d(tmp_path, "log", str(path))
    assert [line.split()[0] for line in done.stdout.splitlines()[2:5]] == ["2026-01-01", "2026-01-04", "all"]
    assert "the lines cover" in done.stdout and "the counts are for that time only" in done.stdout
    assert "no lines in this period" in run_incv3d(tmp_path, "log", str(path), "--since", "1h").stdout


def test_damaged_lines_are_reported(tmp_path: Path, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"\0\0\0\n")
    assert "1 damaged line skipped" in run_incv3d(tmp_path, "log", str(log)).stdout


def test_without_a_name_it_is_the_log_of_this_machine(tmp_path: Path, log: Path) -> None:
    done = run_incv3d(tmp_path, "log")
    assert done.returncode == 0 and done.stdout.startswith(str(log))


def test_a_log_and_its_rotated_files_named_together_are_one(tmp_path: Path, log: Path) -> None:
    done = run_incv3d(tmp_path, "log", str(log), f"{log}.1", f"{log}.2", "--json")
    assert len(json.loads(done.stdout)["logs"]) == 1
    alone = json.loads(run_incv3d(tmp_path, "log", f"{log}.2", "--json").stdout)["logs"]
    assert alone[0]["files"] == [f"{log}.2"]


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("log", "/nowhere/latency.log"), 1, "incv3d: /nowhere/latency.log: no such file"),
        (("log", "--since", "yesterday"), 2, "`yesterday` must look like 6h, 2d, 2026-01-31"),
        (("plot", "/nowhere/latency.log", "-o", "{}/x.png"), 1, "/nowhere/latency.log: no such file"),
        (("plot", "-o", "/nowhere/x.png"), 2, "incv3d: -o: /nowhere/x.png: cannot be written"),
        (("plot", "-o", "{}/x.gif"), 2, "must end in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, words, status, complaint) -> None:
    done = run_incv3d(tmp_path, *(word.format(tmp_path) for word in words))
    assert done.returncode == status and complaint in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_is_plotted(tmp_path: Path, log: Path) -> None:
    image = tmp_path / "one.png"
    done = run_incv3d(tmp_path, "plot", str(log), "-o", str(image))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout == f"{image}: 722 lines plotted\n"
    with Image.open(image) as drawn:
        assert drawn.width > 1000 and len(drawn.convert("L").getcolors()) > 20


@pytest.mark.parametrize(
    ("begin_s", "axis"), [(NOON + 1800, "UTC"), (NOON + 86_400, "hours since the first line")]
)
def test_logs_are_compared_over_the_time_that_they_share(tmp_path: Path, log: Path, begin_s, axis) -> None:
    (tmp_path / "other").mkdir()
    other = write_log(tmp_path / "other/latency.log", begin_s, run_ms=60)
    image = tmp_path / "two.svg"
    done = run_incv3d(tmp_path, "plot", str(log), str(other), "-o", str(image))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    drawn = image.read_text()
    for words in (axis, "other/latency.log p50", "restart", "lost per minute", "°C"):
        assert f"<!-- {words}" in drawn, words


def test_a_log_without_lines_is_not_plotted(tmp_path: Path) -> None:
    (tmp_path / "latency.log").touch()
    done = run_incv3d(tmp_path, "plot", str(tmp_path / "latency.log"), "-o", str(tmp_path / "x.png"))
    assert done.returncode == 1 and "no lines to plot" in done.stderr


def test_a_single_line_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "latency.log"
    rolling = RollingLatency(60, 10, 0.0)
    path.write_text(summary_line(NOON, rolling.summary(60.0), Readings(None, None, None)) + "\n")
    done = run_incv3d(tmp_path, "plot", str(path), "-o", str(tmp_path / "x.png"))
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, log: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from incv3d.cli import main; main()"
    command = [sys.executable, "-c", code, "plot", str(log), "-o", str(tmp_path / "x.png")]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"incv3d: -o: matplotlib is not installed; {sys.executable} -m pip install matplotlib\n"
    )
