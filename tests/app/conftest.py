"""Daemons with a scripted Session, and sockets that connect to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from processes import PATIENCE_S, ScriptedDaemon


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., ScriptedDaemon]]:
    started: list[ScriptedDaemon] = []

    def make(settings: str = "{}", run_ms: int = 0, **extra: str) -> ScriptedDaemon:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        (folder / "incv3d.yaml").write_text(settings)
        started.append(ScriptedDaemon(folder, folder, str(folder / "incv3d.yaml"), str(run_ms), **extra))
        started[-1].ready()
        return started[-1]

    yield make
    for process in started:
        process.kill()


@pytest.fixture
def connect() -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        sockets: list[zmq.Socket[bytes]] = []

        def make(kind: int, address: str, **options: Any) -> zmq.Socket[bytes]:
            made = context.socket(kind)
            made.set(zmq.LINGER, 0)
            made.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
            for name, value in options.items():
                made.set(getattr(zmq, name), value)
            made.connect(address)
            sockets.append(made)
            return made

        yield make
        for made in sockets:
            made.close()
