"""What a source costs: processor time while it idles between two frames, and memory over many frames.

usage: python tests/performance/cameras.py [SECONDS] [FRAMES]

Needs ffmpeg and GStreamer's RTSP server (see tests/support/streams.py); its state is in a temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import DaemonProcess, run_incv3d
from streams import H264, HttpStream, RtspStream, film


@contextmanager
def running(state: Path, **source: object) -> Iterator[DaemonProcess]:
    """A daemon with this source, warm."""
    folder = Path(tempfile.mkdtemp(dir=state))
    config = folder / "incv3d.yaml"
    config.write_text(json.dumps({"source": source}))
    daemon = DaemonProcess(state, folder, "--config", str(config)).ready()
    try:
        yield daemon
    finally:
        daemon.stop()


def cpu_s(daemon: DaemonProcess) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(daemon: DaemonProcess) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1000


def stats(daemon: DaemonProcess) -> dict[str, Any]:
    with Client(daemon.door) as client:
        return client.ask("stats")


def idle(state: Path, seconds: float, label: str, **source: object) -> None:
    with running(state, **source) as daemon:
        time.sleep(3)  # opening it is not what is measured
        used, began = cpu_s(daemon), time.monotonic()
        time.sleep(seconds)
        share = (cpu_s(daemon) - used) / (time.monotonic() - began)
        frames = stats(daemon).get("source", {}).get("frames", 0)
    print(f"| {label} | {100 * share:.2f} | {frames} |", flush=True)


def memory(state: Path, frames: int, label: str, **source: object) -> None:
    with running(state, **source) as daemon:
        seen: list[str] = []
        for share in (0.1, 0.25, 0.5, 0.75, 1.0):
            while stats(daemon)["source"]["frames"] < share * frames:
                time.sleep(0.5)
            seen.append(f"{rss_mb(daemon):.1f}")
    print(f"| {label} | {' | '.join(seen)} |", flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 40.0
    frames = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    state = Path(tempfile.mkdtemp(prefix="incv3d-cameras-"))
    run_incv3d(state, "classify", str(demo_folder() / "cat.jpg"))
    http, rtsp = HttpStream(rate=30).start(), RtspStream(H264).start()
    try:
        print(
            f"| idle for {seconds:.0f} s, one frame every 10 s | % of a core | frames |\n| --- | --- | --- |"
        )
        idle(state, seconds, "no source", type="none")
        idle(state, seconds, "images", type="images", path=str(demo_folder()), interval_s=10)
        idle(state, seconds, "HTTP, MJPEG 640x480, 30 fps", type="video", path=http.url, interval_s=10)
        idle(state, seconds, "RTSP, H.264 1280x720, 25 fps", type="video", path=rtsp.url, interval_s=10)
    finally:
        http.kill()
        rtsp.kill()
    print(f"\n| MB after a share of {frames} frames | 10 % | 25 % | 50 % | 75 % | 100 % |\n{'| --- ' * 6}|")
    memory(state, frames, "images, 250 a second", type="images", path=str(demo_folder()), fps=250)
    path = str(film(state))
    memory(state, frames, "a film, 250 a second, begun again every 20", type="video", path=path, fps=250)


if __name__ == "__main__":
    main()
