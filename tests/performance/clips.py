"""What keeping the latest seconds of a film in memory costs the runs.

usage: python tests/performance/clips.py [ROUNDS]

Plays a film of 640x480 at 25 frames a second, H.264 with a key frame every second, to a daemon with clips
and to one without, in turns. Needs ffmpeg. Makes its state in a temporary folder.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from incv3d.client import Client
from measuring import table
from processes import DaemonProcess

ROUNDS = 5
PLAYED_S = 20.0
FILM = "testsrc2=size=640x480:rate=25,noise=all_strength=12:all_flags=t"


def make_film(path: Path) -> None:
    encoded = ("-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-b:v", "2M")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", FILM, "-t", "30", *encoded, path], check=True
    )


def run_p50_ms(folder: Path, film: Path, clips: bool) -> tuple[float, int]:
    """Return the median run time, and the bytes in the ring at the end."""
    sections = {
        "model": {"name": "efficientnet-lite0"},
        "session": {"tune": False},
        "source": {"path": str(film)},
        "events": {"allow": ["*"], "threshold": 1.0},
        "clips": {"folder": str(folder / "clips") if clips else ""},
        "latency": {"window_s": PLAYED_S, "window_frames": 100_000},
    }
    config = folder / "incv3d.yaml"
    config.write_text(json.dumps(sections))
    daemon = DaemonProcess(folder, folder, "--config", str(config))
    daemon.ready()
    time.sleep(PLAYED_S)
    with Client(daemon.door) as client:
        stats = client.ask("stats")
    daemon.stop()
    return stats["window"]["run"]["p50_ms"], stats.get("clips", {}).get("ring_bytes", 0)


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_film(folder / "film.mp4")
        ratios, ring_bytes = [], 0
        for _ in range(rounds):
            without_ms, _ = run_p50_ms(folder, folder / "film.mp4", clips=False)
            with_ms, ring_bytes = run_p50_ms(folder, folder / "film.mp4", clips=True)
            ratios.append(with_ms / without_ms)
        ratio = statistics.median(ratios)
        rows = [
            ("run p50 with clips, over without", f"{ratio:.3f}", "1.02"),
            ("lowest and highest", f"{min(ratios):.3f}, {max(ratios):.3f}", ""),
            ("bytes in the ring, of 16777216", str(ring_bytes), ""),
        ]
        table(f"{rounds} rounds", rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
