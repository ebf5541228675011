"""incv3d beside an imagezmq hub with a plain loop, and LitServe: same model, same Session, same run.

usage: .venv/bin/python tests/benchmarks/peers.py [MODEL] [ROUNDS] [SECONDS]     (pip install .[peers])

All three are processes of their own with the warm Session that incv3d opens. The hub decodes and resizes
with libjpeg-turbo and Pillow, as its author would. LitServe, an HTTP server with one worker, takes JSON
with the JPEG in base64, as in its documentation. Each round measures a bare Session, then each server with
one client in a closed loop and with eight; each client is a thread with a connection of its own. Figures
are medians over the rounds, ratios those of one round.
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

import numpy as np
import simplejpeg
from PIL import Image

from incv3d.client import Client
from incv3d.frames import Prediction
from incv3d.latency import percentile
from measuring import Child, Opened, bare, daemon, free_port, jpegs, median, open_model

CLIENTS = 8
Classify = Callable[[bytes], object]
Connect = Callable[[], "contextlib.AbstractContextManager[Classify]"]
"""A new client: what it gives takes a JPEG and returns when the answer is there."""


def classify_plainly(opened: Opened, jpeg: bytes) -> tuple[Prediction, ...]:
    """Decode, resize, run, name: what a loop of one's own does."""
    spec = opened.spec
    picture = Image.fromarray(simplejpeg.decode_jpeg(jpeg)).resize((spec.width, spec.height))
    pixels = (np.asarray(picture, np.float32) - np.float32(spec.mean)) / np.float32(spec.scale)
    return opened.labels.top_k(opened.session.run(pixels[np.newaxis]), 5)


def as_json(predictions: tuple[Prediction, ...]) -> str:
    """The labels and scores."""
    return json.dumps([(each.label, each.score) for each in predictions])


def hub_child(model: str, port: str) -> None:
    """An imagezmq hub and the loop that its documentation shows."""
    import imagezmq

    opened = open_model(model)
    hub = imagezmq.ImageHub(open_port=f"tcp://127.0.0.1:{port}")
    print('"ready"', flush=True)
    while True:
        _, jpeg = hub.recv_jpg()
        hub.send_reply(as_json(classify_plainly(opened, jpeg)).encode())


def litserve_child(model: str, port: str) -> None:
    """LitServe with the model in its one worker."""
    import litserve

    class Api(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.opened = open_model(model)

        def decode_request(self, request: dict[str, str]) -> bytes:
            return base64.b64decode(request["jpeg"])

        def predict(self, jpeg: bytes) -> tuple[Prediction, ...]:
            return classify_plainly(self.opened, jpeg)

        def encode_response(self, output: tuple[Prediction, ...]) -> dict[str, str]:
            return {"predictions": as_json(output)}

    server = litserve.LitServer(Api(), accelerator="cpu")
    # Said before it is: it speaks HTTP when its worker is warm, and is asked until then.
    print('"ready"', flush=True)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")


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


def hub_client(port: int) -> Connect:
    """imagezmq's sender."""
    import imagezmq

    @contextlib.contextmanager
    def connect() -> Iterator[Classify]:
        with imagezmq.ImageSender(connect_to=f"tcp://127.0.0.1:{port}") as sender:

            def classify(jpeg: bytes) -> object:
                return json.loads(sender.send_jpg("bench", jpeg))

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


def main(model: str = "auto", rounds: str = "5", seconds: str = "6") -> None:
    """Print the table."""
    figures: dict[str, defaultdict[str, list[float]]] = {}
    with ExitStack() as stack:
        session = stack.enter_context(bare(model))
        hub_port, http_port = free_port(), free_port()
        served = stack.enter_context(daemon(model))
        stack.enter_context(Child(__file__, "hub", model, str(hub_port)))
        stack.enter_context(Child(__file__, "litserve", model, str(http_port)))
        wait_for_http(http_port)
        servers = {
            "incv3d": incv3d_client(served.door),
            "imagezmq's hub": hub_client(hub_port),
            "LitServe": http_client(http_port),
        }
        for name, connect in servers.items():
            figures[name] = defaultdict(list)
            load(connect, CLIENTS, 2)
        for _ in range(int(rounds)):
            runs_per_s, run_ms = session.ask(seconds)
            for name, connect in servers.items():
                found = figures[name]
                _, alone = load(connect, 1, float(seconds))
                found["one client: p50, ms"].append(percentile(alone, 50))
                found["one client: p50 over a bare run, ms"].append(percentile(alone, 50) - run_ms)
                per_s, together = load(connect, CLIENTS, float(seconds))
                found["eight clients, labels a second"].append(per_s)
                found["eight clients over bare runs"].append(per_s / runs_per_s)
                found["eight clients: p99 over p50"].append(
                    percentile(together, 99) / percentile(together, 50)
                )
    print(f"\n| {model}, medians of {rounds} rounds | {' | '.join(figures)} |")
    print(f"| --- |{' --- |' * len(figures)}")
    for row in figures["incv3d"]:
        print(f"| {row} | {' | '.join(f'{median(figures[name][row]):.2f}' for name in figures)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        {"hub": hub_child, "litserve": litserve_child}[sys.argv[2]](*sys.argv[3:])
    else:
        main(*sys.argv[1:])
