"""Which doors must have keys, and what is said of those that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from incv3d.config.intake import IntakeSection
from incv3d.config.loading import ConfigError, LoadedConfig
from incv3d.config.schema import Config
from incv3d.protocol.curve_keys import KeyFileError
from incv3d.transports.zeromq.access import insecure_warning, required_keys
from incv3d.transports.zeromq.key_store import KeyStore

OPEN = "tcp://0.0.0.0:5555"
LOCAL = "tcp://127.0.0.1:5555"
IPC = "ipc:///run/incv3d/door"


def configured(folder: Path, **intake: Any) -> LoadedConfig:
    """A configuration in `folder`, where its keys are, too, unless it names another one."""
    section = IntakeSection(**{"bind": LOCAL, "publish": "", **intake})
    return LoadedConfig(Config(intake=section), folder / "incv3d.yaml")


@pytest.mark.parametrize("bind", [LOCAL, IPC, "tcp://[::1]:5555", "tcp://lo:5555"])
@pytest.mark.parametrize("insecure", [False, True])
def test_a_door_for_this_machine_alone_needs_no_keys(tmp_path: Path, bind: str, insecure: bool) -> None:
    KeyStore(tmp_path / "keys").new()
    loaded = configured(tmp_path, bind=bind, publish="tcp://127.0.0.1:5556", insecure=insecure)
    assert required_keys(loaded, {}) is None
    assert insecure_warning(loaded.config.intake) == ""


@pytest.mark.parametrize(
    "addresses", [{"bind": OPEN}, {"publish": OPEN}, {"bind": OPEN, "publish": "tcp://*:5556"}]
)
def test_a_door_for_other_machines_has_the_keys_beside_its_configuration(
    tmp_path: Path, addresses: dict[str, str]
) -> None:
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    loaded = configured(tmp_path, **addresses)
    found = required_keys(loaded, {})
    assert found and found.server() == ring.server()
    assert insecure_warning(loaded.config.intake) == ""


@pytest.mark.parametrize("bind", [LOCAL, OPEN])
def test_a_folder_of_keys_that_is_named_is_used_whoever_can_connect(tmp_path: Path, bind: str) -> None:
    ring = KeyStore(tmp_path / "elsewhere")
    ring.new()
    found = required_keys(configured(tmp_path, bind=bind, keys=str(ring.folder)), {})
    assert found and found.server() == ring.server()


@pytest.mark.parametrize("key", ["bind", "publish"])
def test_a_door_for_other_machines_without_keys_is_refused_with_both_ways_out(
    tmp_path: Path, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        required_keys(configured(tmp_path, **{key: OPEN}), {})
    assert str(caught.value) == (
        f"intake.{key}: other machines can connect to {OPEN}, and there are no keys in {tmp_path}/keys: make "
        "them with `incv3d keys new` and `incv3d keys add CLIENT`, or let anybody in with "
        "`intake.insecure: true`"
    )


@pytest.mark.parametrize("bind", [LOCAL, OPEN])
def test_a_folder_that_is_named_and_has_no_keys_is_refused(tmp_path: Path, bind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        required_keys(configured(tmp_path, bind=bind, keys=f"{tmp_path}/none"), {})
    assert str(caught.value) == (
        f"intake.keys: there are no keys in {tmp_path}/none: make them with `incv3d keys new` and "
        "`incv3d keys add CLIENT`"
    )


def test_keys_that_others_can_read_are_refused_before_the_door_opens(tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    ring.server_file.chmod(0o644)
    with pytest.raises(KeyFileError, match="other users can read the daemon's secret key"):
        required_keys(configured(tmp_path, bind=OPEN), {})


def test_keys_are_where_the_service_has_them(tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "etc/keys")
    ring.new()
    found = required_keys(configured(tmp_path, bind=OPEN), {"CONFIGURATION_DIRECTORY": f"{tmp_path}/etc"})
    assert found and found.folder == ring.folder


def test_a_door_that_lets_anybody_in_says_by_which_addresses(tmp_path: Path) -> None:
    def said(**addresses: str) -> str:
        loaded = configured(tmp_path, insecure=True, **addresses)
        assert required_keys(loaded, {}) is None
        return insecure_warning(loaded.config.intake)

    assert said(bind=OPEN, publish=LOCAL) == (
        f"intake.insecure: without keys, every machine that reaches {OPEN} can send frames and read the "
        "results"
    )
    assert "reaches tcp://*:1 or tcp://*:2 can send" in said(bind="tcp://*:1", publish="tcp://*:2")
