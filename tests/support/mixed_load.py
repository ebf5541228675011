"""Honest and dishonest clients of every door of a daemon, each in a thread, and what became of them."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import imagezmq
import numpy as np
import zmq

from all_doors import FRAMES, NAME, AllDoors
from brokers import Listener
from incv3d.client import Client, NoAnswer, Refused, results
from incv3d.images.demo import demo_folder
from incv3d.sources.image_files import find_images
from incv3d.tools.load.mqtt import MqttLoadSender
from incv3d.tools.load.report import LoadStatistics
from incv3d.tools.load.sender import LoadImage, LoadSender, Plan
from incv3d.tools.load.zeromq import ZmqLoadSender
from sse import Viewer

ZEROMQ_SENDERS, HTTP_SENDERS, MQTT_SENDERS = 2, 2, 2
SILENCE_S = 120
"""A subscriber that hears nothing for so long, while frames are classified, has been forgotten."""
PATIENCE_S = 300
"""A request without an answer for so long is unanswered; a busy machine may be slow."""
PAUSE_S = 0.2
READ = ("/", "/page/main.js", "/metrics", "/healthz", "/readyz", "/picture/camera", "/classify", "/nowhere")
"""What readers of HTTP ask for."""


@dataclass
class MixedLoad:
    """The threads, and what became of their requests.

    :param seconds: how long the closed loops last.
    """

    doors: AllDoors
    seconds: float
    end: threading.Event = field(default_factory=threading.Event)
    outcomes: Counter[str] = field(default_factory=Counter)
    """By client and code; ``no answer`` is the only one that must not be."""
    zeromq: LoadStatistics = field(default_factory=LoadStatistics)
    mqtt: LoadStatistics = field(default_factory=LoadStatistics)
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that a request must not get."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures = [each.read_bytes() for each in find_images(str(demo_folder()))]
        whole = self._pictures[0]
        self._bad = [
            whole[: len(whole) // 2],
            whole[:100],
            b"no picture",
            b"",
            b"\x89PNG\r\n\x1a\n" + bytes(50),
        ]

    def start(self) -> list[threading.Thread]:
        """Start a thread for each client."""
        works: list[Callable[[], object]] = [
            self._loop_over_zeromq,
            self._send_bad_over_zeromq,
            self._come_and_go,
            self._subscribe,
            self._send_arrays,
            *[self._loop_over_http] * HTTP_SENDERS,
            self._send_bad_over_http,
            self._cut_uploads,
            self._read_http,
            self._view_page,
            self._loop_over_mqtt,
            self._send_bad_over_mqtt,
            self._listen_to_mqtt,
        ]
        threads = [threading.Thread(target=self._guard, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        return threads

    @property
    def unanswered(self) -> int:
        """How many requests got no answer."""
        loops = [tally.report(1.0).outcomes.get("no_answer") for tally in (self.zeromq, self.mqtt)]
        with self._lock:
            single = sum(count for name, count in self.outcomes.items() if name.endswith("no answer"))
        return single + sum(kind.count for kind in loops if kind)

    def count(self, client: str, outcome: str) -> None:
        """Note one outcome of a request of `client`."""
        with self._lock:
            self.outcomes[f"{client}: {outcome}"] += 1

    def _guard(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - reported at the end, which it brings about
            self.failures.append(f"{getattr(work, '__name__', work)}: {error!r}")
            self.end.set()

    def _turns(self, pause_s: float = PAUSE_S) -> Iterator[int]:
        """Count, with pauses, until the end."""
        for number in itertools.count():
            yield number
            if self.end.wait(pause_s):
                return

    def _loop_over_zeromq(self) -> None:
        plan = Plan(ZEROMQ_SENDERS, ZEROMQ_SENDERS, duration_s=self.seconds, timeout_s=PATIENCE_S)
        with ZmqLoadSender(self.doors.daemon.door, plan) as generator:
            self._shoot(generator, self.zeromq, self._pictures)

    def _loop_over_mqtt(self) -> None:
        plan = Plan(limit=MQTT_SENDERS, duration_s=self.seconds, timeout_s=PATIENCE_S, wait_if_busy=True)
        url = f"mqtt://127.0.0.1:{self.doors.broker.port}/{FRAMES}/loop"
        with MqttLoadSender(url, plan, {}) as generator:
            generator.connect()
            self._shoot(generator, self.mqtt, [*self._pictures, *self._bad])

    def _shoot(self, generator: LoadSender, tally: LoadStatistics, pictures: list[bytes]) -> None:
        shots = [LoadImage(str(number), data) for number, data in enumerate(pictures)]
        for outcome in generator.send_all(itertools.cycle(shots)):
            tally.add(outcome)
            if self.end.is_set():
                return

    def _send_bad_over_zeromq(self) -> None:
        with Client(self.doors.daemon.door, timeout_s=PATIENCE_S) as client:
            for number in self._turns():
                data = self._bad[number % len(self._bad)]
                self._ask("bad zeromq", partial(client.classify, data))

    def _come_and_go(self) -> None:
        for number in self._turns(0.1):
            with Client(self.doors.daemon.door, timeout_s=PATIENCE_S) as client:
                ask = (
                    partial(client.ask, "stats")
                    if number % 2
                    else partial(client.classify, self._pictures[0])
                )
                self._ask("zeromq visitor", ask)

    def _ask(self, client: str, ask: Callable[[], object]) -> None:
        try:
            ask()
            self.count(client, "ok")
            if client.startswith("bad"):
                self.wrong.append(f"{client} got a label")
        except Refused as error:
            self.count(client, str(error.code.value if error.code else error))
        except NoAnswer:
            self.count(client, "no answer")

    def _subscribe(self) -> None:
        while not self.end.is_set():
            stream = results(self.doors.daemon.results, timeout_s=SILENCE_S)
            try:
                for each in itertools.islice(stream, 50):
                    self.count("subscriber", each.source)
            except NoAnswer:
                if not self.end.is_set():
                    raise
            stream.close()

    def _send_arrays(self) -> None:
        """imagezmq's own sender, whose REQ socket waits for each answer."""
        pixels = np.random.default_rng(2).integers(0, 256, (120, 160, 3), np.uint8)
        sender = imagezmq.ImageSender(connect_to=self.doors.daemon.door)
        sender.zmq_socket.setsockopt(zmq.RCVTIMEO, PATIENCE_S * 1000)
        sender.zmq_socket.setsockopt(zmq.LINGER, 0)
        for _ in self._turns(0.05):
            try:
                answer = json.loads(sender.send_image("array", pixels))
            except zmq.Again:
                self.count("imagezmq", "no answer")
                break
            self.count("imagezmq", answer.get("code", "ok"))
        sender.close()

    def _loop_over_http(self) -> None:
        connection = http.client.HTTPConnection(*self.doors.host, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            for number in self._turns(0.0):
                picture = self._pictures[number % len(self._pictures)]
                code = self._post("http", connection, "/classify", picture, self.doors.authorization)
                if code == "busy" and self.end.wait(PAUSE_S):
                    return

    def _send_bad_over_http(self) -> None:
        good, known = self._pictures[0], self.doors.authorization
        requests = [
            *[("/classify", data, known) for data in self._bad],
            ("/classify?top_k=none", good, known),
            ("/classify?colour=red", good, known),
            ("/classify", good, {}),
            ("/classify", good, {"Authorization": "Bearer wrong"}),
            ("/classify", good, {**known, "Content-Encoding": "gzip"}),
            ("/login", b"token=wrong", {}),
        ]
        for number in self._turns():
            connection = http.client.HTTPConnection(*self.doors.host, timeout=PATIENCE_S)
            with contextlib.closing(connection):
                code = self._post("bad http", connection, *requests[number % len(requests)])
            if code == "ok":
                self.wrong.append(f"bad http {number % len(requests)} got a label")

    def _post(
        self,
        client: str,
        connection: http.client.HTTPConnection,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> str:
        """The code of the answer, or its status where it has none."""
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            self.failures.append(f"{client}: {error!r}")
            code = "no answer"
        else:
            is_json = answer.headers.get_content_type() == "application/json"
            code = json.loads(said).get("code", "ok") if is_json else str(answer.status)
        self.count(client, code)
        return code

    def _cut_uploads(self) -> None:
        """Leave in the middle of a request, politely or not; there is nobody to get an answer."""
        rng = random.Random(1)
        picture = self._pictures[0]
        head = (
            f"POST /classify HTTP/1.1\r\nHost: {self.doors.host[0]}\r\n"
            f"Authorization: Bearer {self.doors.token}\r\nContent-Length: {len(picture)}\r\n\r\n"
        ).encode()
        for number in self._turns():
            with socket.create_connection(self.doors.host, timeout=PATIENCE_S) as upload:
                upload.sendall((head + picture)[: rng.randrange(1, len(head) + len(picture))])
                if number % 2:
                    reset = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds
                    upload.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            self.count("cut upload", "left")

    def _read_http(self) -> None:
        for number in self._turns(0.1):
            connection = http.client.HTTPConnection(*self.doors.host, timeout=PATIENCE_S)
            with contextlib.closing(connection):
                try:
                    connection.request("GET", READ[number % len(READ)], headers=self.doors.authorization)
                    answer = connection.getresponse()
                    answer.read()
                    self.count("http reader", str(answer.status))
                except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                    self.failures.append(f"http reader: {error!r}")
                    self.count("http reader", "no answer")

    def _view_page(self) -> None:
        for _ in self._turns():
            viewer = Viewer(self.doors.url, **self.doors.authorization)
            for name, _ in itertools.islice(viewer.events(), 10):
                self.count("viewer", name)
            viewer.close()

    def _send_bad_over_mqtt(self) -> None:
        """Frames that get no answer, and commands that are none."""
        listener = Listener(self.doors.broker.port, "incv3d/answers/nobody")
        for number in self._turns():
            bad = self._bad[number % len(self._bad)]
            listener.publish(f"{FRAMES}/bad", bad)
            listener.publish(
                f"{FRAMES}/bad", self._pictures[0], ResponseTopic="a/+/b", UserProperty=[("top_k", "x")]
            )
            listener.publish(f"incv3d/{NAME}/command", bad[:50] or b"threshold none")
            self.count("bad mqtt", "sent")
        listener.close()

    def _listen_to_mqtt(self) -> None:
        """Come to the broker, hear a few results, and go."""
        for _ in self._turns(1.0):
            listener = Listener(self.doors.broker.port, f"incv3d/{NAME}/result/#")
            for _ in range(3):
                listener.next(f"incv3d/{NAME}/result/camera")
                self.count("mqtt listener", "results")
            listener.close()
