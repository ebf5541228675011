"""Brokers, and daemons that know of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_connection import WILL, Recorder
from brokers import Listener, MosquittoBroker
from incv3d.transports.mqtt.broker import Broker
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.connection import BrokerConnection
from incv3d.transports.mqtt.outbox import Outbox
from processes import ScriptedDaemon


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., MosquittoBroker]]:
    brokers: list[MosquittoBroker] = []

    def make(*lines: str) -> MosquittoBroker:
        brokers.append(MosquittoBroker(tmp_path, *lines))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(make_broker: Callable[..., MosquittoBroker]) -> MosquittoBroker:
    return make_broker()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def make(broker: MosquittoBroker, filter_: str = "#", **settings: Any) -> Listener:
        listeners.append(Listener(broker.port, filter_, **settings))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., ScriptedDaemon]]:
    """A real daemon, warm, whose runs take `run_ms`."""
    daemons: list[ScriptedDaemon] = []

    def start(
        broker: MosquittoBroker,
        mqtt: dict[str, Any] | None = None,
        run_ms: float = 1,
        environ: dict[str, str] | None = None,
        **sections: Any,
    ) -> ScriptedDaemon:
        folder = tmp_path / f"daemon-{len(daemons)}"
        folder.mkdir()
        section = {"host": "127.0.0.1", "port": broker.port, "name": "pi", "interval_s": 0, **(mqtt or {})}
        config = folder / "incv3d.yaml"
        config.write_text(json.dumps({"mqtt": section, **sections}))
        daemons.append(ScriptedDaemon(folder, folder, str(config), str(run_ms), **(environ or {})))
        daemons[-1].config = config
        return daemons[-1].ready()

    yield start
    for daemon in daemons:
        daemon.kill()


@pytest.fixture
def start() -> Iterator[Callable[..., Recorder]]:
    recorders: list[Recorder] = []

    def start(port: int, limit: int = 100, before: Callable[[Recorder], None] | None = None) -> Recorder:
        recorder = Recorder()
        recorder.link = BrokerConnection(
            Broker("127.0.0.1", port), "me", WILL, Outbox(limit), 10, 100_000, Complaints(),
            lambda _name, error: recorder.deaths.append(error),
        )  # fmt: skip
        if before:
            before(recorder)
        recorder.link.start(recorder)
        recorders.append(recorder)
        return recorder

    yield start
    for recorder in recorders:
        assert recorder.link
        recorder.link.close(10, WILL)
        assert not recorder.deaths
