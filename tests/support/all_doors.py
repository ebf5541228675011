"""A real daemon with all its doors open: ZeroMQ, HTTP with a token, MQTT over a real Mosquitto."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brokers import MosquittoBroker
from processes import DaemonProcess

NAME = "pi"
FRAMES = "incv3d/frames"
"""The daemon takes frames from the topics below this one."""


@dataclass
class AllDoors:
    """The daemon, and what its clients must know."""

    daemon: DaemonProcess
    broker: MosquittoBroker
    token: str
    config_path: Path
    settings: dict[str, Any]
    url: str = ""
    """Where HTTP is served, once the daemon is ready."""

    @property
    def host(self) -> tuple[str, int]:
        """The address of the HTTP server."""
        parts = urlsplit(self.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def ready(self) -> AllDoors:
        """Itself, once the daemon is warm."""
        self.url = self.daemon.url()
        self.daemon.ready()
        return self

    def write_config(self, **sections: dict[str, Any]) -> None:
        """Write the configuration, with these sections instead of those from before."""
        self.settings.update(sections)
        self.config_path.write_text(json.dumps(self.settings))

    def tracebacks(self) -> list[str]:
        """The lines of its log that begin a traceback, once it has ended."""
        return [line for line in self.daemon.said if "Traceback" in line]


@contextmanager
def all_doors(state: Path, folder: Path, model: str, **sections: dict[str, Any]) -> Iterator[AllDoors]:
    """Start the daemon and its broker; both end with the block.

    :param folder: for its sockets, configuration and log; must be empty.
    :param sections: of the configuration, besides those of the doors; a door's keys are added to its own.
    """
    broker = MosquittoBroker(folder)
    try:
        token = secrets.token_hex(16)
        token_path = folder / "token"
        token_path.write_text(token)
        token_path.chmod(0o600)
        doors: dict[str, dict[str, Any]] = {
            "http": {"bind": "127.0.0.1:0", "token_file": str(token_path)},
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "name": NAME, "frames": f"{FRAMES}/#"},
        }
        settings = {**sections, **{name: {**own, **sections.get(name, {})} for name, own in doors.items()}}
        config = folder / "incv3d.yaml"
        config.write_text(json.dumps(settings))
        daemon = DaemonProcess(state, folder, "--config", str(config), "--model", model)
        try:
            yield AllDoors(daemon, broker, token, config, settings).ready()
        finally:
            daemon.kill()
    finally:
        broker.stop()
