"""How two cameras share one Session, and what the end of one does to the other.

usage: python tests/performance/two_cameras.py [SECONDS]

A film and an RTSP camera, first with 10 frames a second each, then with 25, which is more than the Session
runs (EfficientNet-Lite0 in TensorFlow on one thread). In the end the RTSP camera is killed. Needs ffmpeg and
GStreamer's RTSP server; its state is in a temporary folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from incv3d.client import Client, results
from measuring import table
from processes import DaemonProcess
from streams import H264, RtspStream, film

SECONDS = 30.0
SETTLING_S = 5.0


def listen(daemon: DaemonProcess, seconds: float) -> dict[str, list[float]]:
    """Return the ages, in ms, of the results of each source."""
    ages: dict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + seconds
    for result in results(daemon.results):
        if time.monotonic() > end:
            return ages
        if result.answer.age_ms is not None:
            ages[result.source].append(result.answer.age_ms)
    return ages


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def rows(name: str, ages: dict[str, list[float]], seconds: float) -> list[tuple[str, str, str]]:
    total = sum(map(len, ages.values()))
    found = []
    for source, each in sorted(ages.items()):
        share = len(each) / total
        wanted = "0.475 to 0.525" if len(ages) > 1 else ""
        found.append((f"{name}: {source}, share of the results", f"{share:.3f}", wanted))
        found.append((f"{name}: {source}, frames a second", f"{len(each) / seconds:.1f}", ""))
        found.append((f"{name}: {source}, age p95, ms", f"{p95(each):.0f}", ""))
    return found


def play(folder: Path, fps: int, seconds: float) -> None:
    camera = RtspStream(H264).start()
    sections = {
        "model": {"name": "efficientnet-lite0"},
        "session": {"engine": "tensorflow", "threads": 1, "tune": False},
        "sources": [
            {"name": "film", "path": str(folder / "film-mpeg4.mkv"), "fps": fps},
            {"name": "rtsp", "path": camera.url, "max_fps": fps},
        ],
    }
    (folder / "incv3d.yaml").write_text(json.dumps(sections))
    daemon = DaemonProcess(folder, folder, "--config", str(folder / "incv3d.yaml")).ready()
    time.sleep(SETTLING_S)
    both = listen(daemon, seconds)
    with Client(daemon.door) as client:
        run_ms = client.ask("stats")["window"]["run"]["p50_ms"]
    camera.kill()
    time.sleep(SETTLING_S)
    alone = listen(daemon, seconds)
    daemon.stop()
    table(
        f"{fps} frames a second each, {seconds:.0f} s, run p50 {run_ms:.1f} ms",
        [*rows("both", both, seconds), *rows("rtsp killed", alone, seconds)],
    )


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as made:
        film(Path(made))
        for fps in (10, 25):
            play(Path(made), fps, seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
