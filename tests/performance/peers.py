"""incv3d beside an imagezmq hub with a plain loop, and LitServe: same model, same Session, same run.

usage: .venv/bin/python tests/performance/peers.py [MODEL] [ROUNDS] [SECONDS]     (pip install .[peers])

All three are processes of their own with the warm Session that incv3d opens. The hub decodes and resizes
with libjpeg-turbo and Pillow, as its author would. LitServe, an HTTP server with one worker, takes JSON
with the JPEG in base64, as in its documentation. Each round measures each server with one client in a
closed loop, with eight and with thirty-two, and a bare Session before, between and after; each client is a
thread with a connection of its own. The thirty-two of incv3d are imagezmq's senders, as the hub's, and come
again at once when they are refused. Figures are medians over the rounds, ratios those of one round.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from incv3d.client import Client
from incv3d.latency.rolling import percentile
from measuring import Child, bare, daemon, free_port, jpegs, median

CLIENTS = 8
MANY_CLIENTS = 32
SERVERS = Path(__file__).with_name("peer_servers.py")
Classify = Callable[[bytes], object]
Connect = Callable[[], "contextlib.AbstractContextManager[Classify]"]
"""A new client: what it gives takes a JPEG and returns when the answer is there."""


def wait_for_http(port: int) -> None:
    """Until its health check is good."""
    for _ in range(1200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        connection.close()
        time.sleep(0.1)
    raise RuntimeError("LitServe did not become healthy within two minutes")


def incv3d_client(address: str) -> Connect:
    """incv3d's own client."""

    @contextlib.contextmanager
    def connect() -> Iterator[Classify]:
        with Client(address) as client:
            client.ask("ping")
            yield client.classify

    return connect


def imagezmq_client(address: str) -> Connect:
    """imagezmq's sender, which knows no `retry_ms`."""
    import imagezmq

    @contextlib.contextmanager
    def connect() -> Iterator[Classify]:
        with imagezmq.ImageSender(connect_to=address) as sender:

            def classify(jpeg: bytes) -> object:
                while True:
                    answer = json.loads(sender.send_jpg("bench", jpeg))
                    if not isinstance(answer, dict) or answer.get("code") != "busy":
                        return answer

            yield classify

    return connect


def http_client(port: int) -> Connect:
    """One HTTP connection that is kept open."""

    @contextlib.contextmanager
    def connect() -> Iterator[Classify]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:

            def classify(jpeg: bytes) -> object:
                body = json.dumps({"jpeg": base64.b64encode(jpeg).decode()})
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
                assert response.status == 200, content
                return json.loads(content)

            yield classify

    return connect


def load(connect: Connect, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Closed-loop clients for a while: answers a second, and the round trips in ascending ms."""
    pictures = jpegs()
    round_trips: list[float] = []
    began: list[float] = []
    failures: list[BaseException] = []
    together = threading.Barrier(clients, action=lambda: began.append(time.perf_counter()))

    def work() -> None:
        try:
            with connect() as classify:
                together.wait()
                for picture in itertools.cycle(pictures):
                    started = time.perf_counter()
                    if started - began[0] >= seconds:
                        return
                    classify(picture)
                    round_trips.append((time.perf_counter() - started) * 1000)
        except BaseException as error:  # noqa: BLE001 - raised below, by the one who asked
            failures.append(error)
            together.abort()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return len(round_trips) / (time.perf_counter() - began[0]), sorted(round_trips)


def main(model: str = "auto", rounds: str = "7", seconds: str = "4") -> None:
    """Print the table."""
    figures: dict[str, defaultdict[str, list[float]]] = {}
    with ExitStack() as stack:
        session = stack.enter_context(bare(model))
        hub_port, http_port = free_port(), free_port()
        served = stack.enter_context(daemon(model))
        stack.enter_context(Child(str(SERVERS), "hub", model, str(hub_port)))
        stack.enter_context(Child(str(SERVERS), "litserve", model, str(http_port)))
        wait_for_http(http_port)
        servers = {
            "incv3d": incv3d_client(served.door),
            "imagezmq's hub": imagezmq_client(f"tcp://127.0.0.1:{hub_port}"),
            "LitServe": http_client(http_port),
        }
        in_crowds = {**servers, "incv3d": imagezmq_client(served.door)}
        for name, connect in servers.items():
            figures[name] = defaultdict(list)
            load(connect, CLIENTS, 2)
        for _ in range(int(rounds)):
            for name, connect in servers.items():
                found = figures[name]
                # A noisy machine changes within seconds: each is compared with the Session's runs around it.
                before = session.ask(seconds)
                _, alone = load(connect, 1, float(seconds))
                between = session.ask(seconds)
                per_s, together = load(connect, CLIENTS, float(seconds))
                after = session.ask(seconds)
                crowd_per_s, _ = load(in_crowds[name], MANY_CLIENTS, float(seconds))
                at_last = session.ask(seconds)
                p50_ms = percentile(alone, 50)
                found["one client: p50, ms"].append(p50_ms)
                found["one client: p50 beyond a bare run, ms"].append(p50_ms - (before[1] + between[1]) / 2)
                found["eight clients, labels a second"].append(per_s)
                found["eight clients over bare runs"].append(2 * per_s / (between[0] + after[0]))
                tail = percentile(together, 99) / percentile(together, 50)
                found["eight clients: p99 over p50"].append(tail)
                found["thirty-two clients, labels a second"].append(crowd_per_s)
                found["thirty-two clients over bare runs"].append(2 * crowd_per_s / (after[0] + at_last[0]))
                found["thirty-two clients over eight"].append(crowd_per_s / per_s)
    print(f"\n| {model}, medians of {rounds} rounds | {' | '.join(figures)} |")
    print(f"| --- |{' --- |' * len(figures)}")
    for row in figures["incv3d"]:
        print(f"| {row} | {' | '.join(f'{median(figures[name][row]):.2f}' for name in figures)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
