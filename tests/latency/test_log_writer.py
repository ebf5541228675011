"""The latency log: its lines, its size, and what happens to its disk."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from incv3d.frames import Timings
from incv3d.latency.log_writer import LatencyLog, logfmt, start_line, summary_line
from incv3d.latency.rolling import RollingLatency
from incv3d.machine import Readings

NOON = 1_767_268_800.0


def test_a_line_has_the_fixed_keys_in_their_order() -> None:
    rolling = RollingLatency(60, 100, started=0.0)
    for ms in (10, 20, 30):
        rolling.record(30.0, Timings(queue_ms=1, decode_ms=2, run_ms=ms, total_ms=ms + 3, age_ms=ms + 4))
    line = summary_line(NOON, rolling.summary(60.0), Readings(48.3, 0x50005, 431.6))
    assert line == (
        "ts=2026-01-01T12:00:00Z window_s=60.0 frames=3 fps=0.05 run_best_ms=10.0 run_avg_ms=20.0 "
        "run_p50_ms=20.0 run_p95_ms=29.0 run_p99_ms=29.8 run_worst_ms=30.0 queue_p95_ms=1.0 "
        "decode_p95_ms=2.0 total_p95_ms=32.0 age_p95_ms=33.0 dropped=0 busy=0 expired=0 errors=0 "
        "temp_c=48.3 throttled=0x50005 rss_mb=432 skipped=0"
    )


def test_what_cannot_be_known_is_na() -> None:
    line = summary_line(NOON, RollingLatency(60, 100, started=0.0).summary(1.0), Readings(None, None, None))
    assert "run_p50_ms=na" in line and "temp_c=na throttled=na rss_mb=na" in line


def test_values_with_spaces_and_quotes_are_quoted() -> None:
    assert logfmt({"a": 'x "y"\nz', "b": "", "c": None}) == 'a="x \\"y\\" z" b="" c=na'
    assert start_line(NOON, "start", {"model": "m"}) == "ts=2026-01-01T12:00:00Z event=start model=m"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_file_is_rotated_before_it_grows_beyond_its_cap(tmp_path, keep) -> None:
    log = LatencyLog(tmp_path / "latency.log", max_bytes=100, keep=keep)
    for number in range(50):
        log.write(f"line={number:030d}")
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["latency.log"] + [f"latency.log.{n}" for n in range(1, keep + 1)]
    assert all(path.stat().st_size <= 100 for path in files)
    assert "line=" + f"{49:030d}" in (tmp_path / "latency.log").read_text()


def test_an_existing_file_is_appended_to_and_missing_folders_are_made(tmp_path) -> None:
    for line in ("first", "second"):
        log = LatencyLog(tmp_path / "a/b/latency.log", max_bytes=1000, keep=1)
        log.write(line)
        log.close()
    assert (tmp_path / "a/b/latency.log").read_text() == "first\nsecond\n"


def test_a_file_that_was_moved_or_deleted_is_made_anew(tmp_path) -> None:
    path = tmp_path / "latency.log"
    log = LatencyLog(path, max_bytes=1000, keep=1)
    log.write("one")
    path.rename(tmp_path / "moved")
    log.write("two")
    path.unlink()
    log.write("three")
    log.close()
    assert (tmp_path / "moved").read_text() == "one\n" and path.read_text() == "three\n"


def test_a_full_disk_is_said_once_and_so_is_its_end(tmp_path, caplog) -> None:
    path = tmp_path / "latency.log"
    path.symlink_to("/dev/full")
    log = LatencyLog(path, max_bytes=1000, keep=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            log.write("line")
        assert len(caplog.messages) == 1
        failure = "cannot be written (No space left on device); continuing without it"
        assert caplog.messages[0] == f"{path}: {failure}"
        path.unlink()
        log.write("line")
        log.write("line")
    log.close()
    assert caplog.messages[1:] == [f"{path}: can be written again"]
    assert path.read_text() == "line\nline\n"


def test_a_folder_in_the_way_is_said_once(tmp_path, caplog) -> None:
    log = LatencyLog(tmp_path, max_bytes=1000, keep=1)
    for _ in range(3):
        log.write("line")
    assert len(caplog.messages) == 1 and "Is a directory" in caplog.messages[0]


def test_half_a_line_is_taken_back_when_the_disk_is_full(tmp_path: Path) -> None:
    # A limit on the file's size cuts a write short in the way that a full disk does.
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from incv3d.latency.log_writer import LatencyLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (25, 25))\n"
        "log = LatencyLog(Path(sys.argv[1]), 1000, 1)\n"
        "log.write('a' * 15)\n"
        "log.write('b' * 15)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (tmp_path / "log").read_text() == "a" * 15 + "\n"
    assert "cannot be written (File too large)" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said_once(tmp_path, caplog) -> None:
    tmp_path.chmod(0o500)
    log = LatencyLog(tmp_path / "latency.log", max_bytes=1000, keep=1)
    log.write("line")
    log.write("line")
    tmp_path.chmod(0o700)
    assert len(caplog.messages) == 1 and "Permission denied" in caplog.messages[0]


def test_flushing_harms_no_log_that_cannot_be_flushed(tmp_path) -> None:
    for path in (tmp_path / "latency.log", Path("/dev/null")):
        log = LatencyLog(path, 4096, 1)
        log.flush()
        log.write("ts=1")
        log.flush()
        log.close()
    assert (tmp_path / "latency.log").read_text() == "ts=1\n"


def test_another_size_and_number_are_in_force_from_the_next_line_on(tmp_path) -> None:
    log = LatencyLog(tmp_path / "latency.log", 1_000_000, 3)
    for _ in range(3):
        log.write("x" * 3000)
    log.resize(4096, 1)
    for _ in range(3):
        log.write("x" * 3000)
    log.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["latency.log", "latency.log.1"]
