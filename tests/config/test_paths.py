"""Where things are kept."""

from __future__ import annotations

from pathlib import Path

from incv3d.config.paths import keys_folder, latency_log_path, state_directory


def checkout(folder: Path) -> str:
    (folder / "daemon").mkdir()
    (folder / "daemon/run").touch()
    (folder / "setup.py").touch()
    return str(folder / ".venv")


def test_systemds_state_directory_comes_first(tmp_path) -> None:
    assert state_directory({"STATE_DIRECTORY": "/a:/b"}, checkout(tmp_path)) == Path("/a")


def test_a_checkouts_environment_keeps_its_state_in_the_checkout(tmp_path) -> None:
    assert state_directory({"HOME": "/home/x"}, checkout(tmp_path)) == tmp_path / ".incv3d"


def test_elsewhere_it_is_the_users_data_directory(tmp_path) -> None:
    assert state_directory({"HOME": "/home/x"}, str(tmp_path)) == Path("/home/x/.local/share/incv3d")
    assert state_directory({"XDG_DATA_HOME": "/data"}, str(tmp_path)) == Path("/data/incv3d")


def test_the_log_is_where_it_is_configured_then_with_the_logs_then_with_the_state(tmp_path) -> None:
    environ = {"STATE_DIRECTORY": "/state", "LOGS_DIRECTORY": "/logs"}
    assert latency_log_path("/x/y.log", environ) == Path("/x/y.log")
    assert latency_log_path("", environ) == Path("/logs/latency.log")
    assert latency_log_path("", {"STATE_DIRECTORY": "/state"}) == Path("/state/latency.log")


def test_the_keys_are_as_configured_then_with_the_configuration_then_with_the_state(tmp_path) -> None:
    environ = {"STATE_DIRECTORY": "/state", "CONFIGURATION_DIRECTORY": "/etc/incv3d:/etc/other"}
    file = Path("/home/x/incv3d.yaml")
    assert keys_folder("/k", file, environ) == Path("/k")
    assert keys_folder("", file, environ) == Path("/etc/incv3d/keys")
    assert keys_folder("", file, {"STATE_DIRECTORY": "/state"}) == Path("/home/x/keys")
    assert keys_folder("", None, {"STATE_DIRECTORY": "/state"}) == Path("/state/keys")
