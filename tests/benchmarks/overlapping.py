"""What running two requests at once brings: a daemon that does beside one that does not.

usage: .venv/bin/python tests/benchmarks/overlapping.py [MODEL] [ROUNDS] [SECONDS]

Each round sends 640x480 JPEGs to either daemon, for SECONDS each: over one, two and eight connections in a
closed loop. Figures are medians over the rounds, ratios those of one round.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from door import load
from incv3d.loadreport import LoadReport
from measuring import daemon, median, table

CLIENTS = (1, 2, 8)
OFF = "session: {overlap_runs: false}\n"


def p50_ms(report: LoadReport) -> float:
    """The median round trip."""
    spread = report.outcomes["ok"].round_trip
    assert spread
    return spread["p50_ms"]


def memory_mb(pid: int) -> tuple[float, float]:
    """The most that a process ever took, and what of it now is anonymous."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    most, anonymous = (int(lines[key].split()[0]) / 1000 for key in ("VmHWM", "RssAnon"))
    return most, anonymous


def main(model: str = "auto", rounds: str = "7", seconds: str = "4") -> None:
    """Print the table."""
    found: dict[tuple[int, bool], list[LoadReport]] = defaultdict(list)
    with daemon(model, OFF) as alone, daemon(model) as beside:
        for each in (alone, beside):
            load(each.door, max(CLIENTS), 2)
        for _ in range(int(rounds)):
            for clients in CLIENTS:
                for each in (alone, beside):
                    found[clients, each is beside].append(load(each.door, clients, float(seconds)))
        memory = [memory_mb(each.process.pid) for each in (alone, beside)]
    rows = []
    for clients in CLIENTS:
        one, two = (found[clients, is_beside] for is_beside in (False, True))
        gained = median([b.ok_per_s / a.ok_per_s for a, b in zip(one, two, strict=True)])
        waited = median([p50_ms(b) / p50_ms(a) for a, b in zip(one, two, strict=True)])
        name = f"{clients} client{'s' if clients > 1 else ''}"
        rate = ", ".join(f"{median([r.ok_per_s for r in reports]):.1f}" for reports in (one, two))
        wait = ", ".join(f"{median([p50_ms(r) for r in reports]):.0f}" for reports in (one, two))
        rows.append((f"{name}: labels a second", rate, f"{gained:.2f}"))
        rows.append((f"{name}: median round trip, ms", wait, f"{waited:.2f}"))
    for name, values in zip(("peak memory, MB", "anonymous, MB"), zip(*memory, strict=True), strict=True):
        rows.append((name, ", ".join(f"{value:.0f}" for value in values), f"{values[1] / values[0]:.2f}"))
    table(f"{model}: one after the other, two at once", rows, ("measured", "ratio"))


if __name__ == "__main__":
    main(*sys.argv[1:])
