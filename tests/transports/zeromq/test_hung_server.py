"""A ZeroMQ thread that hangs is noticed: results that it does not send do not count as completed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from incv3d.app.dispatcher import ResultDispatcher
from incv3d.app.event_listeners import EventListeners
from incv3d.app.stall_detector import StallDetector
from incv3d.config.intake import IntakeSection
from incv3d.frames import OWN, Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.latency.rolling import RollingLatency
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.transports.admission import Admission
from incv3d.transports.zeromq.server import HANGS_S, ZmqServer


@dataclass
class Hanging:
    """A server whose thread hangs in the answer to a ping until it is released."""

    server: ZmqServer
    entered: threading.Event
    release: threading.Event
    address: str

    def hang(self) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as client:
            client.set(zmq.LINGER, 10_000)
            client.connect(self.address)
            client.send(b'{"v":1,"op":"ping"}')
            assert self.entered.wait(10)


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Hanging]:
    entered, release = threading.Event(), threading.Event()

    def describe(operation: str, *about: object) -> dict[str, Any]:
        entered.set()
        release.wait(20)
        return {}

    nothing: Any = lambda *said: None  # noqa: E731
    section = IntakeSection(bind=f"ipc://{tmp_path}/door", publish="")
    frame_queue = FrameQueue(8, 1000, 4, is_large)
    server = ZmqServer(
        section,
        frame_queue,
        describe,
        lambda: ("m", "e"),
        Admission(frame_queue, lambda: None, nothing),
        nothing,
        nothing,
    )
    server.open()
    server.start()
    yield Hanging(server, entered, release, section.bind)
    release.set()
    assert server.close(10, Refusal.SHUTTING_DOWN, "the test is over")


class Consumer:
    """Hands results to the server, as the transport does."""

    frame_counter = None

    def __init__(self, server: ZmqServer) -> None:
        self.deliver = server.deliver

    def publish_event(self, event: object, frame: object) -> None:
        pass


def test_a_result_counts_only_while_the_server_sends(hanging: Hanging) -> None:
    dispatcher = ResultDispatcher(RollingLatency(10, 10, 0.0), EventListeners([]))
    dispatcher.add_transport(Consumer(hanging.server))
    completed: list[bool] = []
    dispatcher.on_completed(lambda result, is_accepted: completed.append(is_accepted))
    dispatcher.deliver(Result(OWN))
    hanging.hang()
    dispatcher.deliver(Result(OWN))  # nobody can know yet
    threading.Event().wait(HANGS_S)
    dispatcher.deliver(Result(OWN))
    assert completed == [True, True, False]
    hanging.release.set()
    deadline = time.monotonic() + 10
    while not completed[-1]:
        assert time.monotonic() < deadline
        dispatcher.deliver(Result(OWN))


def test_the_stall_detector_finds_it(hanging: Hanging) -> None:
    now = 100.0
    detector = StallDetector([hanging.server.activity], 2.0, lambda: now)
    assert detector.check() is None
    hanging.hang()
    stall = None
    for _ in range(10):
        now += detector.interval_s
        stall = stall or detector.check()
    assert stall and stall.activity is hanging.server.activity
