"""What the door costs on top of the model: one client, eight clients, beside a bare Session.

usage: .venv/bin/python tests/benchmarks/door.py [MODEL] [ROUNDS] [SECONDS]

Each round measures, for SECONDS each and one after the other: one client in a closed loop; a bare Session
that runs back to back in a process of its own; eight clients; the bare Session again. Clients send 640x480
JPEGs over TCP on loopback, each on its own connection, and never more than one at a time. Figures are
medians over the rounds, ratios those of one round.
"""

from __future__ import annotations

import itertools
import sys
import time

from incv3d.loadgen import LoadGenerator
from incv3d.loadreport import LoadReport, Tally
from incv3d.shooting import Plan, Shot
from measuring import bare, daemon, jpegs, median, table

CLIENTS = 8


def load(address: str, connections: int, seconds: float) -> LoadReport:
    """Closed-loop clients for a while."""
    shots = itertools.cycle([Shot(str(n), data) for n, data in enumerate(jpegs())])
    tally = Tally()
    plan = Plan(connections=connections, limit=connections, duration_s=seconds)
    with LoadGenerator(address, plan) as generator:
        generator.connect()
        started = time.monotonic()
        for outcome in generator.shoot(shots):
            tally.add(outcome)
        report = tally.report(time.monotonic() - started)
    assert tally.all_ok, f"not every frame got a label: {report.outcomes}"
    return report


def main(model: str = "auto", rounds: str = "7", seconds: str = "4") -> None:
    """Print the table."""
    one: list[LoadReport] = []
    eight: list[LoadReport] = []
    runs_per_s: list[float] = []
    with daemon(model) as served, bare(model) as session:
        load(served.door, CLIENTS, 2)
        session.ask("2")
        for _ in range(int(rounds)):
            one.append(load(served.door, 1, float(seconds)))
            # A noisy machine changes within seconds: compared are the Session's runs just before and after.
            before = session.ask(seconds)[0]
            eight.append(load(served.door, CLIENTS, float(seconds)))
            runs_per_s.append((before + session.ask(seconds)[0]) / 2)
    spreads = [report.outcomes["ok"].round_trip or {} for report in eight]
    ratio = median([report.ok_per_s / bare for report, bare in zip(eight, runs_per_s, strict=True)])
    tail = median([each.get("p99_ms", each["worst_ms"]) / each["p50_ms"] for each in spreads])
    beyond = [report.beyond_run["p50_ms"] for report in one if report.beyond_run]
    decode = [report.daemon["decode"]["p50_ms"] for report in one]
    run = [report.daemon["run"]["p50_ms"] for report in one]
    table(
        f"{model}, medians of {rounds} rounds",
        [
            ("one client: round trip beyond decode and run, ms", f"{median(beyond):.2f}", "1.0"),
            ("one client: decode and resize, ms", f"{median(decode):.2f}", "4"),
            ("one client: run, ms", f"{median(run):.1f}", ""),
            ("bare Session, runs a second", f"{median(runs_per_s):.1f}", ""),
            ("eight clients, labels a second", f"{median([r.ok_per_s for r in eight]):.1f}", ""),
            ("eight clients over bare", f"{ratio:.2f}", "0.97 or more"),
            ("eight clients: p50, ms", f"{median([each['p50_ms'] for each in spreads]):.0f}", ""),
            ("eight clients: p99 over p50", f"{tail:.2f}", "1.3"),
        ],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
