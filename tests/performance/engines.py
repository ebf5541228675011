"""TensorFlow's plain Session beside the lean one, without and with cached filters: start, memory, runs.

usage: .venv/bin/python tests/performance/engines.py [MODEL] [ROUNDS]

Each round starts one process of each kind, one after the other, so that a noisy machine favours none; the
figures are medians over the rounds. Memory is what /proc/PID/status says at the end: VmHWM is the peak,
RssAnon what belongs to the process alone (the rest is mapped from files, and the kernel's to take back).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from incv3d.engines import SessionSpec, open_session
from incv3d.models.prepare import ensure_prepared
from incv3d.models.resolve import resolve
from incv3d.pipeline.loader import open_store
from incv3d.pipeline.session_spec import available_cores

RUNS = 40
KINDS = ("plain", "lean", "lean, filters cached")


def child(spec: dict[str, Any]) -> None:
    """Open one Session, run it, and print the figures: what a process of its own does."""
    prepared = spec.pop("prepared")
    spec["file"] = Path(spec["file"])
    session = open_session(SessionSpec(**spec), Path(prepared) if prepared else None)
    shape = (1, spec["height"], spec["width"], 3)
    pixels = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    runs_ms = []
    for _ in range(RUNS):
        started = time.perf_counter()
        session.run(pixels)
        runs_ms.append((time.perf_counter() - started) * 1000)
        if len(runs_ms) == 1:
            print("first", flush=True)
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    memory = {key: int(status[key].split()[0]) / 1024 for key in ("VmHWM", "RssAnon")}
    print(json.dumps({"runs_ms": runs_ms, **memory}))


def measure(spec: dict[str, Any]) -> dict[str, float]:
    """One process: its figures."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "first\n"
    first_result_s = time.perf_counter() - started
    found = json.loads(process.stdout.read())
    process.wait()
    return {
        "first result, s": first_result_s,
        "peak memory, MB": found["VmHWM"],
        "of it anonymous, MB": found["RssAnon"],
        "first run, ms": found["runs_ms"][0],
        "median run, ms": statistics.median(found["runs_ms"][5:]),
    }


def main(name: str = "auto", rounds: str = "5") -> None:
    """Print the table for one model."""
    store = open_store(Config(), state_directory(os.environ))
    model = resolve(name, store, print).model
    spec = {**asdict(model.session_spec(available_cores())), "file": str(model.network)}
    prepared = str(ensure_prepared(model, store, print))
    ways = (
        {"prepared": None},
        {"prepared": prepared, "cache_filters": False},
        {"prepared": prepared, "cache_filters": True},
    )
    figures: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(int(rounds)):
        for kind, way in zip(KINDS, ways, strict=True):
            figures[kind].append(measure({**spec, **way}))
    heads = ["plain", *(f"{kind} | over plain" for kind in KINDS[1:])]
    print(f"| {model.name}, {spec['threads']} threads | {' | '.join(heads)} |\n|{' --- |' * 6}")
    for row in figures["plain"][0]:
        plain, *leans = (statistics.median(each[row] for each in figures[kind]) for kind in KINDS)
        cells = [f"{plain:.1f}", *(f"{lean:.1f} | {lean / plain:.2f}" for lean in leans)]
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
    else:
        main(*sys.argv[1:])
