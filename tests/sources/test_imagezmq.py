"""Remote cameras over imagezmq: its own, real ImageSender publishes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import imagezmq
import numpy as np
import pytest
import zmq

from doubles import jpeg
from incv3d.client.connection import Connection
from incv3d.frames import Frame
from incv3d.sources import SourceError
from incv3d.sources.imagezmq import ImagezmqSource
from incv3d.transports.zeromq.sockets import listen

PICTURE = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Sender:
    """A real ImageSender that publishes the same picture again and again, under a rising number."""

    def __init__(self, address: str, name: str, every_s: float = 0.01) -> None:
        self._sender = imagezmq.ImageSender(connect_to=address, REQ_REP=False)
        self._name = name
        self._every_s = every_s
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.wait(self._every_s):
            self.sent += 1
            if self.sent % 2:
                self._sender.send_image(f"{self._name} {self.sent}", PICTURE)
            else:
                self._sender.send_jpg(f"{self._name} {self.sent}", jpeg())

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._sender.close()


@pytest.fixture
def addresses(tmp_path: Path) -> list[str]:
    return [f"ipc://{tmp_path}/one", f"ipc://{tmp_path}/two"]


@pytest.fixture
def senders(addresses: list[str]) -> Iterator[list[Sender]]:
    started = [Sender(address, name) for address, name in zip(addresses, ("one", "two"), strict=True)]
    yield started
    for sender in started:
        sender.close()


@pytest.fixture
def source(addresses: list[str]) -> Iterator[ImagezmqSource]:
    made = ImagezmqSource("barn", addresses)
    yield made
    made.close()


def next_of(source: ImagezmqSource, after: float = 0.0) -> Frame:
    frame = source.capture(after)
    assert frame
    return frame


def number(frame: Frame) -> int:
    return int(str(frame.id).split()[1])


def test_images_and_jpegs_of_several_senders_arrive(senders, source) -> None:
    frames = [next_of(source) for _ in range(20)]
    assert {frame.source for frame in frames} == {"barn"}
    assert {str(frame.id).split()[0] for frame in frames} == {"one", "two"}
    assert {frame.encoding for frame in frames} == {"bgr24", "jpeg"}
    raw = next(frame for frame in frames if frame.encoding == "bgr24")
    assert (raw.width, raw.height, bytes(raw.data)) == (6, 4, PICTURE.tobytes())


def test_a_fast_sender_does_not_keep_a_slow_one_out(addresses, source) -> None:
    fast, slow = Sender(addresses[0], "fast", 0.0005), Sender(addresses[1], "slow", 0.05)
    try:
        started = time.monotonic()
        while not str(next_of(source).id).startswith("slow"):
            assert time.monotonic() - started < 10
    finally:
        fast.close()
        slow.close()


def test_a_backlog_is_read_away_at_once(addresses, source) -> None:
    sender = Sender(addresses[0], "one", 0.002)
    try:
        next_of(source)
        time.sleep(0.5)  # a machine that had other things to do
        backlog = sender.sent
        while number(next_of(source)) < backlog:
            pass
        # How many it comes out in is for ZeroMQ's thread to say; it must be gone before as many are there.
        came = sender.sent - backlog
        assert came < backlog / 5, f"{came} came while {backlog} old pictures were read"
    finally:
        sender.close()


@pytest.mark.parametrize("idle_s", [0.3, 2.5])
def test_an_idle_subscriber_gets_a_image_sent_after_it_was_wanted(addresses, source, idle_s) -> None:
    sender = Sender(addresses[0], "one")
    try:
        next_of(source)
        wanted = time.monotonic() + idle_s
        sent: list[int] = []
        timer = threading.Timer(idle_s, lambda: sent.append(sender.sent))
        timer.start()
        frame = next_of(source, wanted)
        timer.join()
        assert frame.captured >= wanted and number(frame) >= sent[0]
    finally:
        sender.close()


def test_damaged_messages_are_passed_over(addresses, source, caplog) -> None:
    with zmq.Context() as context:
        publisher = context.socket(zmq.PUB)
        publisher.set(zmq.LINGER, 0)
        publisher.bind(addresses[0])
        damaged: list[list[bytes]] = [
            [b""],
            [b"\x00" * 10, b"x"],
            [b'{"msg": "a", "dtype": "float64", "shape": [1, 1]}', b"12345678"],
            [b'{"msg": "a", "dtype": "uint8", "shape": [-1, 4, 3]}', b"x"],
            [b"[" * 10_000, b"x"],
            [b"{}", b"x"],
            [b"a", b"b", b"c"],
        ]
        stop = threading.Event()

        def publish() -> None:
            while not stop.wait(0.01):
                for parts in damaged:
                    publisher.send_multipart(parts)
                publisher.send_multipart([b'{"msg": "whole"}', jpeg()])

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        assert {next_of(source).id for _ in range(5)} == {"whole"}
        stop.set()
        thread.join(10)
        publisher.close()
    assert 0 < caplog.text.count("message skipped") <= len(damaged), "a line for each would be a flood"


def test_a_sender_that_comes_back_is_heard_again(addresses, source) -> None:
    for name in ("first", "second"):
        sender = Sender(addresses[0], name)
        try:
            while not str(next_of(source).id).startswith(name):
                pass
        finally:
            sender.close()


SENDS_HEARTBEATS_WITHIN_S = 5.0
SLOW = """
import sys
from incv3d.sources.imagezmq import ImagezmqSource
source = ImagezmqSource("barn", [sys.argv[1]])
assert source.capture(0)
print("captured", flush=True)
sys.stdin.readline()
source.close()
"""


def free_port() -> int:
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


def test_a_sender_that_goes_while_frames_are_taken_slowly_does_not_end_the_process() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    sender = Sender(address, "slow")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SLOW, address]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "captured\n"
        sent = sender.sent
        while sender.sent < sent + 50:  # more than the source holds
            threading.Event().wait(0.01)
    finally:
        sender.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SENDS_HEARTBEATS_WITHIN_S)
    _, said = process.communicate("\n", 20)
    assert process.returncode == 0, said


def test_connections_are_kept_alive_by_tcp_and_not_by_heartbeats_of_zeromq() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    source = ImagezmqSource("barn", [address])
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        listen(router, address, "intake.bind")
        connection = Connection(context, address)
        for socket in (*source._sockets, router, connection.socket):
            assert socket.get(zmq.HEARTBEAT_IVL) == 0
            assert socket.get(zmq.TCP_KEEPALIVE) == 1
            assert socket.get(zmq.TCP_KEEPALIVE_IDLE) == 30
        connection.close()
    source.close()


def test_an_interruption_wakes_a_capture_that_waits(source) -> None:
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(source.capture(0.0)))
    waiter.start()
    source.interrupt()
    waiter.join(10)
    assert got == [None]


def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ipc:///"):
        ImagezmqSource("barn", ["ipc:///" + "x" * 500])
