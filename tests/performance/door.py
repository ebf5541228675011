"""What the door costs on top of the model: one client, eight clients, beside a bare Session.

usage: .venv/bin/python tests/performance/door.py [MODEL] [ROUNDS] [SECONDS]

Each round measures, for SECONDS each and one after the other: one client in a closed loop; the same client
with a bare loop in the daemon's place, which receives, runs pixels that it has ready, and answers; a bare
Session that runs back to back in a process of its own; eight clients; the bare Session again. Clients send
640x480 JPEGs over TCP on loopback, each on its own connection, and never more than one at a time. Figures
are medians over the rounds, ratios those of one round.
"""

from __future__ import annotations

import itertools
import sys
import time

import msgspec
import zmq

from incv3d.protocol.messages import Answer, AnswerTimings, Header
from incv3d.tools.load.report import LoadReport, LoadStatistics
from incv3d.tools.load.sender import LoadImage, Plan
from incv3d.tools.load.zeromq import ZmqLoadSender
from measuring import Child, bare, daemon, free_port, jpegs, median, open_model, ready_pixels, table

CLIENTS = 8


def load(address: str, connections: int, seconds: float) -> LoadReport:
    """Closed-loop clients for a while."""
    shots = itertools.cycle([LoadImage(str(n), data) for n, data in enumerate(jpegs())])
    tally = LoadStatistics()
    plan = Plan(connections=connections, limit=connections, duration_s=seconds)
    with ZmqLoadSender(address, plan) as generator:
        generator.connect()
        started = time.monotonic()
        for outcome in generator.send_all(shots):
            tally.add(outcome)
        report = tally.report(time.monotonic() - started)
    assert tally.all_ok, f"not every frame got a label: {report.outcomes}"
    return report


def loop_child(model: str, address: str) -> None:
    """The least that can serve a Session over ZeroMQ: what of a round trip is ZeroMQ's and the client's."""
    opened = open_model(model)
    pixels = ready_pixels(opened)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.bind(address)
        print('"ready"', flush=True)
        while True:
            peer, header, _ = socket.recv_multipart(copy=False)
            started = time.perf_counter()
            opened.session.run(pixels)
            run_ms = (time.perf_counter() - started) * 1000
            id = msgspec.json.decode(header.buffer, type=Header).id
            timings = AnswerTimings(queue=0, decode=0, run=run_ms, total=run_ms)
            answer = Answer(v=1, id=id, status="ok", timing_ms=timings, age_ms=run_ms)
            socket.send_multipart([peer.bytes, msgspec.json.encode(answer)])


def main(model: str = "auto", rounds: str = "7", seconds: str = "4") -> None:
    """Print the table."""
    one: list[LoadReport] = []
    loop: list[LoadReport] = []
    eight: list[LoadReport] = []
    runs_per_s: list[float] = []
    address = f"tcp://127.0.0.1:{free_port()}"
    with daemon(model) as served, Child(__file__, model, address), bare(model) as session:
        load(served.door, CLIENTS, 2)
        load(address, 1, 2)
        session.ask("2")
        for _ in range(int(rounds)):
            one.append(load(served.door, 1, float(seconds)))
            loop.append(load(address, 1, float(seconds)))
            # A noisy machine changes within seconds: compared are the Session's runs just before and after.
            before = session.ask(seconds)[0]
            eight.append(load(served.door, CLIENTS, float(seconds)))
            runs_per_s.append((before + session.ask(seconds)[0]) / 2)
    spreads = [report.outcomes["ok"].round_trip or {} for report in eight]
    ratio = median([report.ok_per_s / bare for report, bare in zip(eight, runs_per_s, strict=True)])
    tail = median([each.get("p99_ms", each["worst_ms"]) / each["p50_ms"] for each in spreads])
    beyond, beyond_loop = (
        [report.beyond_run["p50_ms"] for report in reports if report.beyond_run] for reports in (one, loop)
    )
    above = [a - b for a, b in zip(beyond, beyond_loop, strict=True)]
    decode = [report.daemon["decode"]["p50_ms"] for report in one]
    run = [report.daemon["run"]["p50_ms"] for report in one]
    table(
        f"{model}, medians of {rounds} rounds",
        [
            ("one client: round trip beyond decode and run, ms", f"{median(beyond):.2f}", "1.0"),
            ("the same with a bare ZeroMQ loop in the daemon's place, ms", f"{median(beyond_loop):.2f}", ""),
            ("what the daemon adds to that, ms", f"{median(above):.2f}", ""),
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
    if sys.argv[1:2] == ["--child"]:
        loop_child(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
