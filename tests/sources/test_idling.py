"""With an interval, the real daemon captures no more often than it says, and idles in between."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.client import Client
from processes import PATIENCE_S, ScriptedDaemon
from webcams import parts, web_camera

INTERVAL_S = 0.5
FRAMES = 6


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ScriptedDaemon]]:
    started: list[ScriptedDaemon] = []

    def make(**source: object) -> ScriptedDaemon:
        config = tmp_path / "incv3d.yaml"
        section = {"type": "video", "name": "porch", "interval_s": INTERVAL_S, **source}
        config.write_text(json.dumps({"source": section}))
        started.append(ScriptedDaemon(tmp_path, tmp_path, str(config)))
        return started[-1].ready()

    yield make
    for daemon in started:
        daemon.kill()


def cpu_s(daemon: ScriptedDaemon) -> float:
    """Processor time of the daemon so far, all of its threads; proc(5)."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_that_it_idles(daemon: ScriptedDaemon, asked: Sequence[object] = ()) -> None:
    """Let some intervals pass; count what is captured and asked for, and take the processor time."""
    with Client(daemon.door, timeout_s=PATIENCE_S) as client:

        def captured() -> int:
            frames: int = client.ask("stats")["source"]["frames"]
            return frames

        give_up = time.monotonic() + PATIENCE_S
        while not captured():
            assert time.monotonic() < give_up, daemon.said
        before, asked_before, used_s, began = captured(), len(asked), cpu_s(daemon), time.monotonic()
        while captured() < before + FRAMES:
            assert time.monotonic() < give_up, daemon.said
            time.sleep(INTERVAL_S / 2)  # who asks without a pause keeps the daemon busy
        frames, used_s = captured() - before, cpu_s(daemon) - used_s
        lasted_s = time.monotonic() - began
    # A loop that does not wait takes a core, or what a busy machine has left of it, and never so little.
    assert used_s < 0.2 * lasted_s, f"{used_s:.2f} s of processor time in {lasted_s:.2f} s"
    # The first and the last interval may have been under way.
    most = int(lasted_s / INTERVAL_S) + 2
    assert frames <= most and len(asked) - asked_before <= most


def test_a_camera_of_single_images_is_asked_no_more_often(start) -> None:
    with web_camera(lambda request: request.send_whole(jpeg(64, 48))) as camera:
        check_that_it_idles(start(path=camera.url()), camera.asked)


def test_of_a_stream_no_more_frames_are_taken(start) -> None:
    with web_camera(parts()) as camera:
        check_that_it_idles(start(path=camera.url()))


def test_images_are_read_no_more_often(start, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(jpeg(64, 48))
    check_that_it_idles(start(type="images", path=str(tmp_path / "one.jpg"), fps=50))
