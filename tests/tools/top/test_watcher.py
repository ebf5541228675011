"""Watching a real daemon: what it says arrives, and its restarts are lived through."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from incv3d.tools.top.watcher import DaemonWatcher
from incv3d.transports.zeromq.key_store import KeyStore
from processes import PATIENCE_S, ScriptedDaemon

CAT = demo_folder() / "cat.jpg"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], ScriptedDaemon]]:
    """Starts a daemon, each time on the same sockets."""
    started: list[ScriptedDaemon] = []
    config = tmp_path / "incv3d.yaml"
    config.write_text("{}\n")

    def make() -> ScriptedDaemon:
        started.append(ScriptedDaemon(tmp_path, tmp_path, str(config), "5"))
        started[-1].ready()
        return started[-1]

    yield make
    for process in started:
        process.kill()


def test_figures_and_results_arrive(start, tmp_path: Path) -> None:
    daemon = start()
    watch = DaemonWatcher(daemon.door, daemon.results, interval_s=0.2)
    watch.start()
    with Client(daemon.door) as client:
        for _ in range(200):  # a subscription takes a moment to arrive
            client.classify(CAT)
            if watch.wait_for(lambda view: bool(view.received), 0.05):
                break
    assert watch.wait_for(lambda view: bool(view.stats and view.stats.outcomes.get("ok")), PATIENCE_S)
    view = watch.view()
    watch.close()
    assert view.stats and view.stats.state == "ready" and view.stats.model == "scripted"
    assert view.received[0].published.source == "zmq" and view.runs_ms[-1] > 4
    predictions = view.received[0].published.answer.predictions
    assert predictions and predictions[0].label == "label 1"


def test_a_daemon_that_dies_is_noticed_and_found_again(start) -> None:
    daemon = start()
    watch = DaemonWatcher(daemon.door, daemon.results, interval_s=0.1)
    watch.start()
    assert watch.wait_for(lambda view: view.stats is not None, PATIENCE_S)
    daemon.kill()
    assert watch.wait_for(lambda view: view.away_since_s is not None, PATIENCE_S)
    away = watch.view()
    assert "no answer from ipc://" in away.error and away.stats, "what was known is forgotten"
    start()
    assert watch.wait_for(lambda view: view.away_since_s is None, PATIENCE_S)
    assert watch.wait_for(lambda view: view.restarts == 1, PATIENCE_S)
    assert watch.view().error == ""
    watch.close()


def test_waits_for_a_daemon_that_starts_late(start, tmp_path: Path) -> None:
    watch = DaemonWatcher(f"ipc://{tmp_path}/door", f"ipc://{tmp_path}/results", interval_s=0.1)
    watch.start()
    assert watch.wait_for(lambda view: view.away_since_s is not None, PATIENCE_S)
    start()
    assert watch.wait_for(lambda view: view.stats is not None and view.away_since_s is None, PATIENCE_S)
    assert watch.view().restarts == 0
    watch.close()


def test_a_daemon_that_requires_keys_is_watched_with_one(tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    ring.issue("viewer", tmp_path / "viewer.key")
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"intake: {{keys: {tmp_path}/keys}}\n")
    addresses = {"INCV3D_BIND": "", "INCV3D_PUBLISH": ""}
    for variable in addresses:
        with socket.create_server(("127.0.0.1", 0)) as free:
            addresses[variable] = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    daemon = ScriptedDaemon(tmp_path, tmp_path, str(config), **addresses).ready()
    stranger = DaemonWatcher(*addresses.values(), interval_s=0.1)
    known = DaemonWatcher(*addresses.values(), interval_s=0.1, key=str(tmp_path / "viewer.key"))
    for watch in (stranger, known):
        watch.start()
    assert known.wait_for(lambda view: view.stats is not None, PATIENCE_S)
    assert stranger.wait_for(lambda view: "key" in view.error and "key" in view.results_error, PATIENCE_S)
    for watch in (stranger, known):
        watch.close()
    daemon.kill()


def test_what_answers_and_is_not_incv3d_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        watch = DaemonWatcher(address, "nonsense", interval_s=0.1)
        watch.start()
        assert watch.wait_for(
            lambda view: view.away_since_s is not None and bool(view.results_error), PATIENCE_S
        )
        assert "nonsense: cannot connect" in watch.view().results_error
        watch.close()
