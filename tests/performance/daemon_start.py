"""The whole daemon with each engine: start to READY, and the memory of its process.

usage: .venv/bin/python tests/performance/daemon_start.py [MODEL] [ROUNDS]

Each round starts one daemon an engine, one after the other, lets it classify the bundled pictures, and reads
/proc/PID/status: VmHWM is the peak, RssAnon what belongs to the process alone (the rest is mapped from files,
and the kernel's to take back). The figures are medians over the rounds; the first round only warms the file
cache. An engine that the model is not converted for is left out (incv3d model convert).
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from incv3d.client import Client
from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from incv3d.images.demo import demo_folder
from incv3d.models.conversions import converted_precisions, folder_name
from incv3d.models.prepare import ensure_prepared
from incv3d.models.resolve import resolve
from incv3d.models.store import StoredModel
from incv3d.pipeline.loader import open_store
from process_growth import peak_and_anonymous_mb


def stores(model: StoredModel, root: Path) -> dict[str, Path]:
    """A state directory for each engine, in which the model has that one only; the files are linked."""
    found = {}
    for engine in ("tensorflow", *converted_precisions(model.directory)):
        state = found[engine] = root / engine
        folder = state / "models" / model.name
        shutil.copytree(model.directory, folder, copy_function=os.symlink)
        for other in converted_precisions(model.directory):
            if other != engine:
                shutil.rmtree(folder / folder_name(other))
    return found


def measure(model: str, state: Path) -> dict[str, float]:
    """One daemon: its figures."""
    door = f"ipc://{state}/door"
    words = [
        "run",
        "--model",
        model,
        "--bind",
        door,
        "--publish",
        "",
        "--latency-log",
        f"{state}/latency.log",
    ]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "incv3d", *words],
        env={**os.environ, "STATE_DIRECTORY": str(state)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if "READY" in line:
            break
    ready_s = time.perf_counter() - started
    assert process.poll() is None, "".join(said)
    with Client(door, timeout_s=60) as client:
        for picture in sorted(demo_folder().glob("*.jpg")) * 3:
            client.classify(picture)
    peak_mb, anonymous_mb = peak_and_anonymous_mb(process.pid)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    return {"start to READY, s": ready_s, "VmHWM, MiB": peak_mb, "RssAnon, MiB": anonymous_mb}


def main(name: str = "auto", rounds: str = "5") -> None:
    """Print the table for one model."""
    store = open_store(Config(), state_directory(os.environ))
    model = resolve(name, store, print).model
    ensure_prepared(model, store, print)
    figures: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as root:
        states = stores(model, Path(root))
        for number in range(int(rounds) + 1):
            for engine, state in states.items():
                measured = measure(model.name, state)
                if number:
                    figures.setdefault(engine, []).append(measured)
    print(f"| {model.name} | {' | '.join(figures)} |")
    print("| --- " * (len(figures) + 1) + "|")
    for figure in figures["tensorflow"][0]:
        medians = (statistics.median(each[figure] for each in found) for found in figures.values())
        print(f"| {figure} | {' | '.join(f'{value:.2f}' for value in medians)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
