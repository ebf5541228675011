"""Senders in loops while the daemon is restarted: they get an answer to every request, and go on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from doubles import jpeg
from incv3d.transports.zeromq.key_store import KeyStore
from looping_senders import LoopingSenders
from processes import PATIENCE_S, DaemonProcess, ScriptedDaemon

pytestmark = pytest.mark.slow

PROMPT_S = 5.0
"""A daemon that has nothing to do but to take its leave has ended by then, however busy this machine is."""
RESTARTS = 3


def free_port() -> int:
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


@pytest.fixture(params=["tcp", "ipc"])
def door(request, tmp_path: Path) -> str:
    return f"tcp://127.0.0.1:{free_port()}" if request.param == "tcp" else f"ipc://{tmp_path}/a-door"


def scripted(folder: Path, door: str, settings: str = "{}", run_ms: int = 2) -> ScriptedDaemon:
    (folder / "incv3d.yaml").write_text(settings)
    daemon = ScriptedDaemon(folder, folder, str(folder / "incv3d.yaml"), str(run_ms), INCV3D_BIND=door)
    daemon.door = door
    return daemon


def restart_under(
    senders: LoopingSenders, start: Callable[[], DaemonProcess], restarts: int, by: int = signal.SIGTERM
) -> int:
    """How many times a sender went on after a restart."""
    went_on = 0
    daemon = start().ready()
    try:
        senders.wait_for(5)
        for _ in range(restarts):
            began = time.monotonic()
            daemon.signal(by)
            status = daemon.wait()
            if by == signal.SIGTERM:
                assert (status, time.monotonic() - began < PROMPT_S) == (0, True), daemon.said
            counts = senders.counts()
            daemon = start().ready()
            went_on += senders.going_on_from(counts)
        assert daemon.stop() == 0, daemon.said
    finally:
        daemon.kill()
    return went_on


def test_imagezmq_senders_in_tight_loops_go_on_over_restarts(state: Path, tmp_path: Path) -> None:
    door = f"tcp://127.0.0.1:{free_port()}"

    def start() -> DaemonProcess:
        return DaemonProcess(state, tmp_path, "--model", "efficientnet-lite0", INCV3D_BIND=door)

    with LoopingSenders(["imagezmq"] * 10, door) as senders:
        went_on = restart_under(senders, start, RESTARTS)
        assert senders.codes()["shutting_down"] >= 10
    assert went_on >= 10 * RESTARTS - 1


def test_so_they_do_over_each_transport(door: str, tmp_path: Path) -> None:
    with LoopingSenders(["imagezmq"] * 3, door) as senders:
        went_on = restart_under(senders, lambda: scripted(tmp_path, door), RESTARTS)
    # Without the right to keep the processor, a unix socket cannot be closed in time with certainty.
    assert went_on >= 3 * RESTARTS - 1


def test_so_do_senders_with_keys(tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    ring.issue("gate", tmp_path / "gate.key")
    door = f"tcp://127.0.0.1:{free_port()}"
    settings = f"intake: {{keys: {tmp_path}/keys, publish: 'tcp://127.0.0.1:{free_port()}'}}"

    def start() -> ScriptedDaemon:
        return scripted(tmp_path, door, settings)

    with LoopingSenders([f"keyed:{tmp_path}/gate.key"] * 3, door) as senders:
        assert restart_under(senders, start, RESTARTS) >= 3 * RESTARTS - 1


def test_a_safe_sender_survives_a_power_cut(tmp_path: Path) -> None:
    door = f"tcp://127.0.0.1:{free_port()}"
    with LoopingSenders(["safe"] * 2, door) as senders:
        assert restart_under(senders, lambda: scripted(tmp_path, door), 2, signal.SIGKILL) == 4


def test_what_arrives_while_it_stops_is_answered_at_the_very_end(tmp_path: Path) -> None:
    door = f"tcp://127.0.0.1:{free_port()}"
    daemon = scripted(tmp_path, door, run_ms=700).ready()
    try:
        with zmq.Context() as context, context.socket(zmq.DEALER) as busy, context.socket(zmq.REQ) as late:
            for socket in (busy, late):
                socket.set(zmq.LINGER, 0)
                socket.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
                socket.connect(door)
            late.send(jpeg())
            assert json.loads(late.recv())["status"] == "ok"
            busy.send(jpeg())
            while (stats := ask(late, b'{"v":1,"op":"stats"}')) and (
                not stats["unanswered"] or stats["queue_depth"]
            ):
                pass  # until it runs
            daemon.signal(signal.SIGTERM)
            while ask(late, b'{"v":1,"op":"ping"}')["state"] != "stopping":
                pass
            late.send(jpeg())
            assert not late.poll(200), "it was answered while the daemon still had something to do"
            assert json.loads(busy.recv())["status"] == "ok"
            assert json.loads(late.recv())["code"] == "shutting_down"
            assert daemon.wait() == 0
    finally:
        daemon.kill()


def ask(socket: zmq.Socket[bytes], *parts: bytes) -> dict:
    socket.send_multipart(list(parts))
    return json.loads(socket.recv())


@pytest.mark.parametrize("connections", [1, 20])
def test_a_flood_does_not_keep_it_from_stopping(door: str, tmp_path: Path, connections: int) -> None:
    daemon = scripted(tmp_path, door, "daemon: {grace_s: 1}").ready()
    try:
        with zmq.Context() as context:
            dealers = [context.socket(zmq.DEALER) for _ in range(connections)]
            for dealer in dealers:
                dealer.set(zmq.LINGER, 0)
                dealer.set(zmq.SNDTIMEO, 100)
                dealer.connect(door)
            daemon.signal(signal.SIGTERM)
            began = time.monotonic()
            while daemon.process.poll() is None:
                assert time.monotonic() - began < PROMPT_S
                for dealer in dealers:
                    for _ in range(100):
                        try:
                            dealer.send(b"no picture at all", zmq.NOBLOCK)
                        except zmq.Again:
                            break
            for dealer in dealers:
                dealer.close()
        assert daemon.wait() == 0
    finally:
        daemon.kill()


def test_a_daemon_that_nobody_speaks_to_ends_at_once(tmp_path: Path) -> None:
    daemon = scripted(tmp_path, f"tcp://127.0.0.1:{free_port()}").ready()
    assert daemon.stop() == 0
