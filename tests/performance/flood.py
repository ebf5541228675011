"""The door under a flood, and beside a picture that takes a second to decode.

usage: .venv/bin/python tests/performance/flood.py [MODEL] [ROUNDS] [SECONDS]

A flood of four times what eight closed-loop clients get through, from one connection, on a schedule that
waits for nobody, so that some of its refusals are held until `retry_ms` is over; beside it two honest
clients, each with one frame every ten runs and never more than one under way. Each round measures the
honest ones alone and beside the flood. Then: one ordinary client in a closed loop, while another sends an
8000x8000 JPEG every second; once refused for its size, as configured by default, once admitted.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from door import CLIENTS, load
from incv3d.client import Client, Refused
from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from incv3d.latency.rolling import percentile
from measuring import daemon, jpegs, median, table
from processes import environment

HONEST = 2
RUNS_A_FRAME = 10
TIMES_CAPACITY = 4
LARGE_SIDE = 8000
COARSE, QUALITY = 60, 17
"""Such that the picture has about 750 kB."""
LARGE_EVERY_S = 1.0
ADMIT_LARGE = "intake: {max_pixels: 89000000}\n"


@dataclass
class Served:
    """What one client got."""

    outcomes: Counter[str] = field(default_factory=Counter)
    round_trips: list[tuple[float, float]] = field(default_factory=list)
    """From when to when, monotonic, of those that got a label."""
    refused_ms: list[float] = field(default_factory=list)
    """How long the refusals took to come."""

    def ask(self, client: Client, data: bytes) -> None:
        """Classify one frame and note what came of it."""
        started = time.monotonic()
        try:
            client.classify(data)
        except Refused as error:
            self.outcomes[str(error.code.value if error.code else "error")] += 1
            self.refused_ms.append((time.monotonic() - started) * 1000)
        else:
            self.outcomes["ok"] += 1
            self.round_trips.append((started, time.monotonic()))

    def p50_ms(self) -> float:
        """The median round trip."""
        return median([(ended - started) * 1000 for started, ended in self.round_trips])


def at_a_rate(address: str, interval_s: float, seconds: float, served: Served) -> None:
    """A camera: a frame every `interval_s`, later if the answer to the one before has not come."""
    with Client(address) as client:
        due = time.monotonic()
        end = due + seconds
        for data in itertools.cycle(jpegs()):
            time.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() >= end:
                return
            served.ask(client, data)
            due = max(due + interval_s, time.monotonic())


def honest_clients(address: str, interval_s: float, seconds: float) -> list[Served]:
    """Two of them, for a while."""
    clients = [Served() for _ in range(HONEST)]
    threads = [
        threading.Thread(target=at_a_rate, args=(address, interval_s, seconds, served)) for served in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clients


def flooded(
    address: str, rate: float, interval_s: float, seconds: float, folder: Path
) -> tuple[list[Served], Any]:
    """The honest clients beside a flood, and the flood's own report."""
    with Client(address) as client:
        busy_before = client.ask("stats")["outcomes"].get("busy", 0)
    command = [sys.executable, "-m", "incv3d", "send", str(folder), "--connect", address, "--json"]
    options = ["--rate", f"{rate:.3f}", "--duration", f"{seconds + 2}"]
    process = subprocess.Popen(
        [*command, *options], env=environment(state_directory(os.environ)), stdout=subprocess.PIPE
    )
    with Client(address) as client:
        while client.ask("stats")["outcomes"].get("busy", 0) == busy_before:
            assert process.poll() is None, "the flood ended before anything was refused"
            time.sleep(0.05)
    clients = honest_clients(address, interval_s, seconds)
    out, _ = process.communicate()
    return clients, json.loads(out)


def large_jpeg() -> bytes:
    """8000x8000 pixels in about 750 kB."""
    coarse = np.random.default_rng(1).integers(0, 256, (COARSE, COARSE, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((LARGE_SIDE, LARGE_SIDE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def beside_large(address: str, seconds: float, large: bytes) -> tuple[str, float, float]:
    """What became of the large pictures; an ordinary client's median between them and worst at one, ms."""
    beside = Served()
    ordinary = threading.Thread(target=at_a_rate, args=(address, 0.0, seconds, beside))
    ordinary.start()
    outcomes: Counter[str] = Counter()
    windows = []
    with Client(address) as client:
        while ordinary.is_alive():
            time.sleep(LARGE_EVERY_S)
            sent = time.monotonic()
            served = Served()
            served.ask(client, large)
            outcomes.update(served.outcomes)
            windows.append((sent, time.monotonic()))
    ordinary.join()
    took = [(a, b, (b - a) * 1000) for a, b in beside.round_trips]
    at_one = [[ms for a, b, ms in took if a <= answered and b >= sent] for sent, answered in windows]
    touched = set(itertools.chain.from_iterable(at_one))
    between = [ms for _, _, ms in took if ms not in touched]
    return "/".join(outcomes), median(between), median([max(each) for each in at_one if each])


def main(model: str = "auto", rounds: str = "3", seconds: str = "10") -> None:
    """Print both tables."""
    kept, refused_p99, accepted_p99, accepted_limit, alone_ms, beside_ms = ([] for _ in range(6))
    honest_ms: list[float] = []
    with tempfile.TemporaryDirectory() as name, daemon(model) as served:
        folder = Path(name)
        for number, data in enumerate(jpegs()):
            (folder / f"{number}.jpg").write_bytes(data)
        load(served.door, CLIENTS, 2)
        capacity = load(served.door, CLIENTS, float(seconds)).ok_per_s
        # Alone, as a run beside another one takes longer.
        run_ms = load(served.door, 1, float(seconds)).daemon["run"]["p50_ms"]
        with Client(served.door) as client:
            limit = client.ask("stats").get("queue_limit", Config().intake.queue_limit)
        interval_s = RUNS_A_FRAME / capacity
        for _ in range(int(rounds)):
            alone = honest_clients(served.door, interval_s, float(seconds))
            rate = TIMES_CAPACITY * capacity
            beside, flood = flooded(served.door, rate, interval_s, float(seconds), folder)
            kept.append(sum(c.outcomes["ok"] for c in beside) / sum(c.outcomes["ok"] for c in alone))
            alone_ms.append(median([client.p50_ms() for client in alone]))
            beside_ms.append(median([client.p50_ms() for client in beside if client.round_trips] or [0.0]))
            refused_p99.append(flood["outcomes"]["busy"]["round_trip"]["p99_ms"])
            honest_ms += [ms for client in beside for ms in client.refused_ms]
            accepted = flood["outcomes"]["ok"]["round_trip"]
            accepted_p99.append(accepted.get("p99_ms", accepted["worst_ms"]))
            accepted_limit.append(accepted_p99[-1] / ((limit + 2) * run_ms))
            assert "no_answer" not in flood["outcomes"] and not flood["lost_slots"], flood
    table(
        f"{model}, a flood of {TIMES_CAPACITY} x {capacity:.1f} a second, {rounds} rounds",
        [
            ("the flood's refusals' p99, ms", f"{median(refused_p99):.1f}", ""),
            (
                f"two honest clients' {len(honest_ms)} refusals' p99, ms",
                f"{percentile(sorted(honest_ms), 99) if honest_ms else 0:.1f}",
                "20",
            ),
            ("accepted frames' p99, ms", f"{median(accepted_p99):.0f}", ""),
            (f"accepted frames' p99 over ({limit} + 2) runs", f"{median(accepted_limit):.2f}", "1"),
            ("two honest clients' throughput over theirs alone", f"{median(kept):.2f}", "0.90 or more"),
            ("their median round trip alone, ms", f"{median(alone_ms):.0f}", ""),
            ("their median round trip beside the flood, ms", f"{median(beside_ms):.0f}", ""),
        ],
    )
    large = large_jpeg()
    rows = []
    for config in ("", ADMIT_LARGE):
        with daemon(model, config) as served:
            load(served.door, CLIENTS, 2)
            outcome, p50_ms, worst_ms = beside_large(served.door, float(seconds), large)
        held_up = f"{(worst_ms - p50_ms) / p50_ms:.1f}"
        rows.append(
            (f"`{outcome}`: median between them, worst at one, ms", f"{p50_ms:.0f}, {worst_ms:.0f}", "")
        )
        rows.append((f"`{outcome}`: others held up by, in their round trips", held_up, "1"))
    table(f"an 8000x8000 JPEG of {len(large) // 1000} kB every second", rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
