"""Clients that come again at once: imagezmq senders in closed loops, which know no `retry_ms`.

usage: .venv/bin/python tests/performance/loops.py [MODEL] [ROUNDS] [SECONDS] [ENGINE]

Each round measures 8 of them and then 32, eight in a process; beside the 32 a well-behaved client, which
waits for `retry_ms` after each refusal. Figures are medians over the rounds, ratios those of one round.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import imagezmq

from incv3d.client import Client, Refused
from incv3d.latency.rolling import percentile
from measuring import daemon, jpegs, median, table

FEW, MANY = 8, 32
CLIENTS_A_PROCESS = 8


def senders(address: str, seconds: str) -> None:
    """What one process does: print, for each of its clients, how many labels and how many refusals it got."""
    got: list[Counter[str]] = [Counter() for _ in range(CLIENTS_A_PROCESS)]
    pictures = jpegs()
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + float(seconds)

    def loop(outcomes: Counter[str]) -> None:
        with imagezmq.ImageSender(connect_to=address) as sender:
            for picture in itertools.cycle(pictures):
                answer = json.loads(sender.send_jpg("loop", picture))
                if time.monotonic() >= end:
                    return
                outcomes[answer["status"] if answer["status"] == "ok" else answer["code"]] += 1

    threads = [threading.Thread(target=loop, args=(outcomes,)) for outcomes in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([dict(outcomes) for outcomes in got]))


def loops(
    address: str, clients: int, seconds: float, on_start: Callable[[], None] = lambda: None
) -> list[Counter[str]]:
    """So many of them for a while: what each got."""
    command = [sys.executable, __file__, "--child", address, f"{seconds}"]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        for _ in range(clients // CLIENTS_A_PROCESS)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    on_start()
    outputs = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return [Counter(outcomes) for output in outputs for outcomes in json.loads(output)]


def well_behaved(address: str, done: threading.Event) -> tuple[list[float], list[float]]:
    """A client that waits as long as it is told: how long refusals, and labels, took to come, in ms."""
    refused: list[float] = []
    labelled: list[float] = []
    with Client(address) as client:
        for picture in itertools.cycle(jpegs()):
            if done.is_set():
                return sorted(refused), labelled
            sent = time.monotonic()
            try:
                client.classify(picture)
                labelled.append((time.monotonic() - sent) * 1000)
            except Refused as error:
                refused.append((time.monotonic() - sent) * 1000)
                done.wait((error.answer.retry_ms or 0) / 1000)
    raise AssertionError


def beside(address: str, seconds: float) -> tuple[list[Counter[str]], list[float], list[float]]:
    """Many loops with a well-behaved client beside them."""
    done = threading.Event()
    found: list[tuple[list[float], list[float]]] = []
    thread = threading.Thread(target=lambda: found.append(well_behaved(address, done)))
    many = loops(address, MANY, seconds, thread.start)
    done.set()
    thread.join()
    return many, *found[0]


def main(model: str = "auto", rounds: str = "5", seconds: str = "5", engine: str = "auto") -> None:
    """Print the table."""
    ratios: list[float] = []
    per_s: dict[str, list[float]] = {"few": [], "many": [], "refusals": [], "fewest": [], "own": []}
    refusals: list[float] = []
    with daemon(model, f"session: {{engine: {engine}}}\n") as served:
        loops(served.door, FEW, 2)
        for _ in range(int(rounds)):
            few = loops(served.door, FEW, float(seconds))
            many, refused, labelled = beside(served.door, float(seconds))
            labels = [client["ok"] for client in many]
            per_s["few"].append(sum(client["ok"] for client in few) / float(seconds))
            per_s["many"].append((sum(labels) + len(labelled)) / float(seconds))
            per_s["refusals"].append(sum(client["busy"] for client in many) / float(seconds))
            per_s["fewest"].append(min(labels) * MANY / sum(labels))
            per_s["own"].append(len(labelled) * MANY / sum(labels))
            ratios.append(per_s["many"][-1] / per_s["few"][-1])
            refusals += refused
    table(
        f"{model}, {engine}, medians of {rounds} rounds",
        [
            (f"{FEW} clients, labels a second", f"{median(per_s['few']):.1f}", ""),
            (f"{MANY} clients, labels a second", f"{median(per_s['many']):.1f}", ""),
            (f"{MANY} clients over {FEW}", f"{median(ratios):.2f}", "0.95 or more"),
            ("their refusals a second", f"{median(per_s['refusals']):.0f}", ""),
            ("the client with the fewest labels, over their mean", f"{median(per_s['fewest']):.2f}", ""),
            ("a well-behaved client's labels, over their mean", f"{median(per_s['own']):.2f}", ""),
            (
                f"its {len(refusals)} refusals' p99, ms",
                f"{percentile(sorted(refusals), 99) if refusals else 0:.1f}",
                "20",
            ),
        ],
    )


if __name__ == "__main__" and sys.argv[1:2] == ["--child"]:
    senders(*sys.argv[2:])
elif __name__ == "__main__":
    main(*sys.argv[1:])
