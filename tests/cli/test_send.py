"""``incv3d send`` against the real daemon: loads, exit statuses, interruptions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import DaemonProcess, environment, run_incv3d

DEMO = str(demo_folder())


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    process = DaemonProcess(state, tmp_path_factory.mktemp("daemon"))
    yield process.ready()
    assert process.stop() == 0, process.said


def send(state: Path, daemon: DaemonProcess, *words: str):
    return run_incv3d(state, "send", DEMO, "--connect", daemon.door, *words)


def test_a_closed_loop_lasts_the_requested_time(state: Path, daemon: DaemonProcess) -> None:
    done = send(state, daemon, "--duration", "1", "--connections", "3", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["outcomes"].keys() == {"ok"} and report["outcomes"]["ok"]["count"] == report["sent"]
    assert report["elapsed_s"] >= 1 and report["ok_per_s"] > 0
    assert report["daemon"]["run"]["p50_ms"] > 0 and report["beyond_run"]["p50_ms"] > 0


def test_an_open_loop_above_the_capacity_ends_with_rejections_and_status_1(
    state: Path, daemon: DaemonProcess
) -> None:
    done = send(state, daemon, "--duration", "1", "--rate", "500", "--connections", "2", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["outcomes"]["busy"]["count"] > 0 and report["outcomes"]["ok"]["count"] > 0
    assert report["sent"] + report["lost_slots"] == pytest.approx(500, abs=10)
    assert sum(found["count"] for found in report["outcomes"].values()) == report["sent"]


def test_busy_can_be_waited_for(state: Path, daemon: DaemonProcess) -> None:
    done = send(state, daemon, "--repeat", "10", "--concurrency", "40", "--wait-if-busy", "--quiet")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("40 images in")


@pytest.mark.parametrize("raw", ["bgr24", "rgb24"])
def test_pixels_get_the_labels_of_their_images(state: Path, daemon: DaemonProcess, raw: str) -> None:
    done = send(state, daemon, "--raw", raw)
    assert done.returncode == 0 and "coffee.jpg: espresso" in done.stdout


def test_gray_pixels_are_sent(state: Path, daemon: DaemonProcess) -> None:
    assert send(state, daemon, "--raw", "gray8").returncode == 0


def test_an_image_that_cannot_be_decoded_is_one_line(
    state: Path, daemon: DaemonProcess, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    done = run_incv3d(state, "send", str(tmp_path), "--connect", daemon.door, "--raw", "rgb24")
    assert done.returncode == 1
    assert (
        done.stderr.startswith("incv3d: a.jpg: cannot be decoded for --raw: unknown image format")
        and done.stderr.count("\n") == 1
    )


def test_less_concurrency_than_connections_is_a_mistake(state: Path, daemon: DaemonProcess) -> None:
    done = send(state, daemon, "--concurrency", "2", "--connections", "3")
    assert done.returncode == 2 and "is less than --connections 3" in done.stderr


def begin(state: Path, address: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "incv3d", "send", DEMO, "--connect", address, *words]
    return subprocess.Popen(
        command, env=environment(state), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until_served(daemon: DaemonProcess, frames: int) -> None:
    with Client(daemon.door) as client:
        deadline = time.monotonic() + 60
        while client.ask("stats")["outcomes"].get("ok", 0) < frames:
            assert time.monotonic() < deadline, "nothing was classified"
            time.sleep(0.01)


def test_ctrl_c_prints_the_summary_so_far(state: Path, daemon: DaemonProcess) -> None:
    with Client(daemon.door) as client:
        before = client.ask("stats")["outcomes"].get("ok", 0)
    process = begin(state, daemon.door, "--duration", "60", "--quiet")
    wait_until_served(daemon, before + 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and not err, err
    assert "labels per second" in out and "ok: " in out


def test_a_daemon_that_is_killed_does_not_hang_it(state: Path, tmp_path: Path) -> None:
    daemon = DaemonProcess(state, tmp_path).ready()
    process = begin(state, daemon.door, "--duration", "3", "--timeout", "0.5", "--concurrency", "4", "--json")
    wait_until_served(daemon, 5)
    daemon.process.kill()
    out, _ = process.communicate(timeout=60)
    daemon.kill()
    report = json.loads(out)
    assert process.returncode == 1
    assert report["outcomes"]["no_answer"]["count"] >= 4 and report["outcomes"]["ok"]["count"] >= 5


def test_classify_ends_with_one_line_if_the_daemon_is_unreachable(state: Path, tmp_path: Path) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    done = run_incv3d(state, "classify", DEMO, "--connect", nobody, "--timeout", "0.2")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(f"incv3d: no answer from {nobody}") and done.stderr.count("\n") == 1


def test_classify_waits_its_turn_during_a_flood(state: Path, daemon: DaemonProcess) -> None:
    flood = begin(state, daemon.door, "--duration", "60", "--concurrency", "50", "--quiet")
    try:
        with Client(daemon.door) as client:
            while not client.ask("stats")["outcomes"]["busy"]:
                time.sleep(0.01)
        done = run_incv3d(state, "classify", DEMO, "--connect", daemon.door, "--json")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 4
    finally:
        flood.kill()
        flood.communicate(timeout=30)
