"""One Home Assistant beside one broker for all these tests, and daemons of whatever name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import installation
import pytest
from home_assistant import HomeAssistant

from brokers import MosquittoBroker
from incv3d.images.demo import demo_folder
from offline import cache_folder, unless_offline
from processes import ScriptedDaemon


@pytest.fixture(scope="session")
def ha_root() -> Path:
    if reason := installation.why_not():
        pytest.skip(reason)
    with unless_offline("Home Assistant could not be installed"):
        return installation.make_root(cache_folder() / "homeassistant")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoBroker]:
    broker = MosquittoBroker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def home(
    ha_root: Path, broker: MosquittoBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HomeAssistant]:
    """It is running; a test that stops it starts it again."""
    home = HomeAssistant(ha_root, tmp_path_factory.mktemp("ha"), broker.port)
    try:
        yield home.start()
    finally:
        home.stop()


@pytest.fixture(autouse=True)
def no_complaints(home: HomeAssistant) -> Iterator[None]:
    """No test may leave a warning or an error about us in its log."""
    before = len(home.complaints())
    yield
    assert home.complaints()[before:] == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of images, for a camera that a test lets die: it takes the folder away."""
    return Path(shutil.copytree(demo_folder(), tmp_path / "pictures"))


@pytest.fixture
def start_daemon(broker: MosquittoBroker, tmp_path: Path) -> Iterator[Callable[..., ScriptedDaemon]]:
    """Starts a real daemon by its name at the broker, with other sections; it is warm."""
    daemons: list[ScriptedDaemon] = []

    def start(name: str, mqtt: dict[str, Any] | None = None, **sections: Any) -> ScriptedDaemon:
        folder = tmp_path / f"daemon-{len(daemons)}"
        folder.mkdir()
        config = folder / "incv3d.yaml"
        section = {"host": "127.0.0.1", "port": broker.port, "name": name, **(mqtt or {})}
        config.write_text(json.dumps({"mqtt": section, **sections}))
        daemons.append(ScriptedDaemon(folder, folder, str(config), "1"))
        daemons[-1].config = config
        return daemons[-1].ready()

    yield start
    for daemon in daemons:
        daemon.kill()
