"""A ZeroMQ server with a pipeline behind it, whose Session the test controls."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import dataclass, field
from typing import Any

import zmq

from doubles import ScriptedSession
from incv3d.config.intake import IntakeSection
from incv3d.frames import Refusal
from incv3d.images.resize import InputSpec
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import Pipeline
from incv3d.transports.zeromq.server import ZmqServer

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")


SOON_MS = 10_000


@dataclass
class Door:
    """An intake and a pipeline at work, and what they reported."""

    section: IntakeSection
    frame_queue: FrameQueue
    session: ScriptedSession
    intake: ZmqServer
    pipeline: Pipeline
    refused: list[Refusal] = field(default_factory=list)
    deaths: queue.SimpleQueue[tuple[str, BaseException]] = field(default_factory=queue.SimpleQueue)
    drained: threading.Event = field(default_factory=threading.Event)
    closed: bool = False


def ask(socket: zmq.Socket[bytes], *parts: bytes) -> dict[str, Any]:
    socket.send_multipart(list(parts))
    return json.loads(socket.recv())


def settle(door: Door, dealer: zmq.Socket[bytes]) -> None:
    """Wait until what `dealer` sent has left the waiting room."""
    dealer.send(json.dumps({"v": 1, "op": "ping"}).encode())
    assert json.loads(dealer.recv())["op"] == "ping"
    while len(door.frame_queue):
        threading.Event().wait(0.001)


def header(**fields: Any) -> bytes:
    return json.dumps({"v": 1, "encoding": "jpeg", **fields}).encode()
