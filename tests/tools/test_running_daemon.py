"""Finding the daemon of a configuration, and letting it read that again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.config.edit import set_key
from incv3d.config.loading import LoadedConfig, load_config
from incv3d.tools.running_daemon import ReloadFailed, RunningDaemon, find_daemon, reload_daemon
from processes import ScriptedDaemon


def configured(folder: Path, model: str) -> LoadedConfig:
    path = folder / "incv3d.yaml"
    path.write_text(json.dumps({"model": {"name": model}, "intake": {"bind": f"ipc://{folder}/door"}}))
    return load_config(str(path), {})


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    loaded = configured(tmp_path, "one")
    found = ScriptedDaemon(tmp_path, tmp_path, str(loaded.path)).ready()
    yield found
    found.kill()


def test_it_is_found_and_serves_the_new_model_when_it_has_read_its_configuration_again(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    loaded = load_config(str(tmp_path / "incv3d.yaml"), {})
    found = find_daemon(loaded)
    assert found and found.pid == daemon.process.pid and found.models == {"one"} and not found.is_service
    set_key(tmp_path / "incv3d.yaml", "model.name", "another")
    assert reload_daemon(loaded, found).models == {"another"}
    assert daemon.stop() == 0


def test_what_it_cannot_use_is_reported_in_its_own_words(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    loaded = load_config(str(tmp_path / "incv3d.yaml"), {})
    found = find_daemon(loaded)
    assert found
    set_key(tmp_path / "incv3d.yaml", "model.name", "broken")
    with pytest.raises(ReloadFailed, match=r"the running daemon stays as it was: .*golden"):
        reload_daemon(loaded, found)
    again = find_daemon(loaded)
    assert again and again.models == {"one"}
    set_key(tmp_path / "incv3d.yaml", "model.name", "one")
    assert reload_daemon(loaded, again).problem == "", "the problem is over"


def test_where_none_runs_none_is_found_at_once(tmp_path: Path) -> None:
    assert find_daemon(configured(tmp_path, "one")) is None


def test_the_daemon_of_another_user_is_left_alone_with_the_command_that_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(pid: int, number: int) -> None:
        assert number == signal.SIGHUP
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    for is_service, command in ((True, "sudo systemctl reload incv3d"), (False, "sudo kill -HUP 77")):
        running = RunningDaemon(77, is_service, True, frozenset(), 0, "")
        with pytest.raises(ReloadFailed, match=command):
            reload_daemon(configured(tmp_path, "one"), running)
