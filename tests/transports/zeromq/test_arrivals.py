"""Messages that begin to arrive and never end: over real connections, written byte by byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from incv3d.config.intake import IntakeSection
from incv3d.frames import Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.protocol.curve_keys import new_pair
from incv3d.transports.admission import Admission
from incv3d.transports.zeromq.arrivals import SUBSCRIPTION_BYTES, Arrivals
from incv3d.transports.zeromq.peer_socket import PeerSocket
from incv3d.transports.zeromq.server import ZmqServer
from processes import PATIENCE_S, ScriptedDaemon

MIB = 2**20
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00%c%b\x08Identity\x00\x00\x00\x00"
MORE, LONG, COMMAND = 1, 2, 4
LIMIT = {"max_message_bytes": MIB, "queue_bytes": MIB}
"""Two of 2 MiB may arrive, less their ends: the limit is 3 MiB."""
ALMOST = 2 * MIB - 4096


@pytest.fixture
def door() -> Iterator[Callable[..., tuple[ZmqServer, int]]]:
    """Opens an intake that refuses every frame, with `settings`; gives its port, too."""
    opened: list[ZmqServer] = []

    def make(**settings: Any) -> tuple[ZmqServer, int]:
        port = free_port()
        section = IntakeSection(bind=f"tcp://127.0.0.1:{port}", **{"publish": "", **LIMIT, **settings})
        room = FrameQueue(1, 1, 1, is_large)
        room.close()
        nothing: Any = lambda *said: None  # noqa: E731
        admission = Admission(room, lambda: None, nothing)
        intake = ZmqServer(section, room, lambda *asked: {}, lambda: ("", ""), admission, nothing, nothing)
        intake.open()
        intake.start()
        opened.append(intake)
        return intake, port

    yield make
    for intake in opened:
        assert intake.close(10, Refusal.SHUTTING_DOWN, "the test is over")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Stranger:
    """A connection that speaks ZMTP just as far as it likes."""

    def __init__(
        self, port: int, source: str = "127.0.0.1", greets: bool = True, role: bytes = b"DEALER"
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0))
        self.socket.sendall(GREETING)
        self._receive(64)
        if greets:
            ready = READY % (len(role), role)
            self.socket.sendall(bytes((COMMAND, len(ready))) + ready)
            self._receive(self._receive(2)[1])

    def begin(self, size_bytes: int, sent_bytes: int, flags: int = LONG) -> None:
        """Announce a part of a message, and send some of it."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(struct.pack(">BQ", flags | LONG, size_bytes) + bytes(sent_bytes))

    def is_closed(self, within_s: float) -> bool:
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def _receive(self, size_bytes: int) -> bytes:
        received = b""
        while len(received) < size_bytes:
            received += self.socket.recv(size_bytes - len(received))
        return received


@pytest.fixture
def strangers() -> Iterator[Callable[..., Stranger]]:
    made: list[Stranger] = []

    def make(*words: Any, **options: Any) -> Stranger:
        made.append(Stranger(*words, **options))
        return made[-1]

    yield make
    for stranger in made:
        stranger.socket.close()


def ask(port: int, *parts: bytes) -> bytes:
    with zmq.Context() as context, context.socket(zmq.REQ) as req:
        req.set(zmq.LINGER, 0)
        req.set(zmq.RCVTIMEO, 20_000)
        req.connect(f"tcp://127.0.0.1:{port}")
        req.send_multipart(list(parts))
        return req.recv()


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_subscriber_with_a_million_subscriptions_is_closed_and_others_are_not(
    door, strangers, caplog
) -> None:
    publish = free_port()
    intake, _ = door(publish=f"tcp://127.0.0.1:{publish}")
    with zmq.Context() as context, context.socket(zmq.SUB) as modest:
        modest.set(zmq.RCVTIMEO, 20_000)
        modest.subscribe(b"result.")
        modest.connect(f"tcp://127.0.0.1:{publish}")
        while not modest.poll(20):  # a subscription takes a moment to arrive
            intake.deliver(Result("porch"))
        greedy = strangers(publish, role=b"SUB")
        subscriptions = b"".join(bytes((0, 9, 1)) + number.to_bytes(8, "big") for number in range(1000))
        with contextlib.suppress(ConnectionError):
            for _ in range(SUBSCRIPTION_BYTES // len(subscriptions) + 1):
                greedy.socket.sendall(subscriptions)
                intake.deliver(Result("garden"))  # ZeroMQ looks at subscriptions when it publishes
        wait_for(lambda: intake.deliver(Result("garden")) and intake.status()["peers"]["closed"] == 1)
        assert greedy.is_closed(within_s=20)
        intake.deliver(Result("gate"))
        while modest.recv_multipart()[0] != b"result.gate":
            pass
    assert intake.status()["peers"]["closed"] == 1
    (said,) = [record.message for record in caplog.records if "closed a connection" in record.message]
    assert "of 127.0.0.1: subscriptions held 1 MB, the limit is 1 MB" in said


def test_when_unfinished_messages_hold_too_much_connections_are_closed_until_they_do_not(
    door, strangers, caplog
) -> None:
    intake, port = door()
    for _ in range(6):
        strangers(port).begin(2 * MIB - 1, ALMOST)
    wait_for(lambda: intake.status()["peers"]["closed"] == 5)
    assert b"ping" in ask(port, b'{"v": 1, "op": "ping"}')
    assert intake.status()["peers"]["closed"] == 5, "one alone may stay"
    (said,) = [record.message for record in caplog.records if "closed a connection" in record.message]
    assert "of 127.0.0.1: incomplete messages held" in said


def test_a_message_of_many_parts_that_never_ends_is_cut_off(door, strangers) -> None:
    intake, port = door()
    endless = strangers(port)
    for _ in range(200):
        endless.begin(32 * 1024, 32 * 1024, MORE)
    assert endless.is_closed(20)
    wait_for(lambda: intake.status()["peers"]["closed"] == 1)


def test_a_stranger_without_a_handshake_is_cut_off_too(door, strangers) -> None:
    intake, port = door()
    unknown = [strangers(port, greets=False) for _ in range(4)]
    for each in unknown:
        each.begin(2 * MIB - 1, ALMOST, COMMAND)
    wait_for(lambda: intake.status()["peers"]["closed"] == 3)


def test_many_connections_of_one_address_make_nobody_else_the_one_that_is_closed(door, strangers) -> None:
    intake, port = door()
    honest = strangers(port)
    honest.begin(2 * MIB - 1, MIB)
    many = [strangers(port, source="127.0.0.2") for _ in range(8)]
    for each in many:
        each.begin(2 * MIB - 1, MIB // 2)
    wait_for(lambda: intake.status()["peers"]["closed"] > 0)
    honest.socket.sendall(bytes(MIB - 1))
    assert b"too_large" in honest.socket.recv(4096)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_messages_that_end_count_for_nothing_however_many_they_are(is_encrypted: bool) -> None:
    arrivals = Arrivals(3 * MIB)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        arrivals.watch(context, router)
        dealer.set(zmq.LINGER, 0)
        server, client = new_pair(), new_pair()
        if is_encrypted:
            router.curve_server, router.curve_secretkey = True, server.secret
            dealer.curve_serverkey = server.public
            dealer.curve_publickey, dealer.curve_secretkey = client.public, client.secret
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer.connect(f"tcp://127.0.0.1:{port}")
        for size_bytes in [MIB, 100, 0, 30_000] * 20:
            dealer.send_multipart([b"", bytes(size_bytes)])
            parts = router.recv_multipart(copy=False)
            arrivals.read(PeerSocket.under(parts[0]), sum(map(len, parts)))
            arrivals.check(time.monotonic(), arrivals.monitors)
        assert arrivals.wait_s(time.monotonic()) is not None
        assert not arrivals.closed
        arrivals.close()


def test_who_leaves_is_forgotten_and_an_idle_door_sleeps(door, strangers) -> None:
    intake, port = door()
    assert intake._longest_wait_ms() is None
    leaver = strangers(port)
    wait_for(lambda: intake._longest_wait_ms() is not None)
    leaver.socket.close()
    wait_for(lambda: intake._longest_wait_ms() is None)


def test_fourteen_unfinished_messages_of_59_mib_do_not_cost_850_mb(tmp_path: Path, strangers) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("{}")
    port = free_port()
    daemon = ScriptedDaemon(tmp_path, tmp_path, str(config), "5", INCV3D_BIND=f"tcp://127.0.0.1:{port}")
    try:
        daemon.ready()
        before_kb = int(daemon.facts("VmHWM").split()[0])
        threads = [
            threading.Thread(target=strangers(port).begin, args=(59 * MIB, 58 * MIB)) for _ in range(14)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        daemon.wait_for("closed a connection of 127.0.0.1")
        grown_mb = (int(daemon.facts("VmHWM").split()[0]) - before_kb) / 1024
        assert grown_mb < 400, "128 MiB, and what comes between two looks on a busy machine"
        assert daemon.stop() == 0
    finally:
        daemon.kill()
