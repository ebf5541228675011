"""Requests to a daemon process, good and bad, and what the process uses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import zmq
from PIL import Image

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess

CAT = (demo_folder() / "cat.jpg").read_bytes()


MIB = 1024 * 1024


STATS = b'{"v":1,"op":"stats"}'


def header(**fields: Any) -> bytes:
    return json.dumps({"v": 1, "encoding": "jpeg", **fields}).encode()


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return out.getvalue()


def nested(depth: int) -> bytes:
    return b'{"v":1,"encoding":"jpeg","id":' + b"[" * depth + b"]" * depth + b"}"


def ask(door: zmq.Socket[bytes], *parts: bytes) -> dict[str, Any]:
    door.send_multipart(list(parts))
    answer: dict[str, Any] = json.loads(door.recv_multipart()[-1])
    return answer


def stats(daemon: DaemonProcess) -> dict[str, Any]:
    with Client(daemon.door, PATIENCE_S) as client:
        return client.ask("stats")


def assert_it_serves(daemon: DaemonProcess) -> None:
    with Client(daemon.door, PATIENCE_S) as client:
        assert client.classify(CAT).status == "ok"


def resident_mb(daemon: DaemonProcess, name: str = "VmRSS") -> float:
    return int(daemon.facts(name).split()[0]) / 1024


def descriptors(daemon: DaemonProcess) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
