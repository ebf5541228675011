"""What a fleet of daemons behind one broker does, with Sessions that sleep: ``fleet.py [RUN_MS] [SECONDS]``.

The sharing is measured, not the cores: four daemons against one, a slow one beside a fast one, and whether
every frame has its answer, and one alone, while daemons are killed and started.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from brokers import MosquittoBroker
from incv3d.images.demo import demo_folder
from measuring import median, table
from processes import ScriptedDaemon, environment

ROUNDS = 3
PICTURE = str(demo_folder() / "cat.jpg")


def start(folder: Path, port: int, name: str, run_ms: float, **mqtt: Any) -> ScriptedDaemon:
    """A daemon of the fleet; not warm yet."""
    own = folder / f"{name}-{time.monotonic_ns()}"
    own.mkdir()
    section = {"host": "127.0.0.1", "port": port, "name": name, "frames": "incv3d/frames/#", **mqtt}
    (own / "incv3d.yaml").write_text(json.dumps({"mqtt": section}))
    return ScriptedDaemon(own, own, str(own / "incv3d.yaml"), str(run_ms))


@contextmanager
def fleet(folder: Path, port: int, runs_ms: Sequence[float], **mqtt: Any) -> Iterator[list[ScriptedDaemon]]:
    """A warm daemon for each of the run times."""
    with ExitStack() as stack:
        daemons = []
        for number, run_ms in enumerate(runs_ms):
            daemons.append(start(folder, port, f"pi{number}", run_ms, **mqtt))
            stack.callback(daemons[-1].kill)
        for daemon in daemons:
            daemon.ready()
            if not any("mqtt: connected" in line for line in daemon.said):
                daemon.wait_for("mqtt: connected")
        yield daemons


def send(folder: Path, port: int, *words: str) -> subprocess.Popen[str]:
    """``incv3d send`` to the fleet."""
    url = f"mqtt://127.0.0.1:{port}"
    command = [sys.executable, "-m", "incv3d", "send", PICTURE, "--mqtt", url, "--json", *words]
    return subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True)


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    return json.loads(process.communicate()[0])


def load(folder: Path, port: int, seconds: float, concurrency: int) -> dict[str, Any]:
    words = ("--duration", str(seconds), "--concurrency", str(concurrency))
    return report_of(send(folder, port, *words))


def throughput(folder: Path, port: int, run_ms: float, seconds: float) -> None:
    """Four daemons against one, in turn."""
    rates: dict[int, list[float]] = {1: [], 4: []}
    for _ in range(ROUNDS):
        for count, found in rates.items():
            with fleet(folder, port, [run_ms] * count):
                found.append(load(folder, port, seconds, concurrency=4 * count)["ok_per_s"])
    one, four = median(rates[1]), median(rates[4])
    table(
        f"daemons that take {run_ms:g} ms a frame",
        [
            ("one: labels a second", f"{one:.1f}", f"{1000 / run_ms:.1f} at most"),
            ("four: labels a second", f"{four:.1f}", f"{4000 / run_ms:.1f} at most"),
            ("four, times one", f"{four / one:.2f}", ">= 3.5"),
        ],
    )


def proportion(folder: Path, port: int, run_ms: float, seconds: float) -> None:
    """A daemon that is four times as slow beside a fast one."""
    with fleet(folder, port, [run_ms, 4 * run_ms]):
        found = load(folder, port, 2 * seconds, concurrency=12)
    shares = found["answered_by"]
    ratio = shares["pi0"] / shares["pi1"]
    shared = f"{shares['pi0']} : {shares['pi1']} = {ratio:.2f}"
    at_most = f"{5 * 1000 / (4 * run_ms):.1f} at most"
    table(
        "one fast, one four times as slow",
        [("frames", shared, "4"), ("labels a second", f"{found['ok_per_s']:.1f}", at_most)],
    )


def kills(folder: Path, port: int, run_ms: float, seconds: float) -> None:
    """Daemons die and come back; every frame must have its answer."""
    ended = threading.Event()
    killed = 0
    with fleet(folder, port, [run_ms] * 4) as daemons, ExitStack() as stack:
        words = ("--duration", str(4 * seconds), "--concurrency", "12", "--timeout", "2", "--retries", "10")
        sender = send(folder, port, *words)
        threading.Thread(target=lambda: (sender.wait(), ended.set())).start()
        while not ended.wait(seconds / 4):
            number = killed % len(daemons)
            daemons[number].signal(signal.SIGKILL if killed % 4 else signal.SIGTERM)
            daemons[number].wait()
            killed += 1
            daemons[number] = start(folder, port, f"pi{number}", run_ms)
            stack.callback(daemons[number].kill)
            daemons[number].ready()
        found = report_of(sender)
    outcomes = {kind: each["count"] for kind, each in found["outcomes"].items()}
    worst = found["outcomes"]["ok"]["round_trip"]["worst_ms"] / 1000
    table(
        f"{killed} daemons killed, or stopped, and started",
        [
            ("frames with a label", f"{outcomes.pop('ok')} of {found['sent']}", "all"),
            ("frames with another outcome", str(outcomes or "none"), "none"),
            ("frames answered twice", str(found["duplicates"]), "0"),
            ("worst round trip", f"{worst:.1f} s", "2 s for each daemon that died with it"),
        ],
    )


def main() -> None:
    run_ms = float(sys.argv[1]) if len(sys.argv) > 1 else 100.0
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        broker = MosquittoBroker(folder, "allow_anonymous true", "set_tcp_nodelay true")
        try:
            throughput(folder, broker.port, run_ms, seconds)
            proportion(folder, broker.port, run_ms, seconds)
            kills(folder, broker.port, run_ms, seconds)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
