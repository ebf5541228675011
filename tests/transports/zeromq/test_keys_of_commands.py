"""Keys in the configuration, and in the commands that connect to a daemon."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.client import Client
from keyed_daemon import (
    free_port,
)
from processes import PATIENCE_S, DaemonProcess, environment, run_incv3d
from waiting import until


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "incv3d.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("key", ["bind", "publish"])
def test_an_address_for_other_machines_without_keys_is_refused_with_both_ways_out(
    settings, tmp_path, key: str
) -> None:
    config = settings(f"intake:\n  {key}: tcp://0.0.0.0:5999\n")
    for words in (["check-config"], ["run"]):
        done = run_incv3d(tmp_path, *words, "--config", str(config))
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"incv3d: {config}:2: intake.{key}: other machines can connect to")
        assert "incv3d keys new" in done.stderr and "intake.insecure: true" in done.stderr
    done = run_incv3d(tmp_path, "run", "--config", str(settings("{}")), "--bind", "tcp://*:5999")
    assert done.returncode == 2
    assert done.stderr.startswith("incv3d: the command line (intake.bind): other machines can connect")


def test_what_is_insecure_on_purpose_is_said_at_every_start(settings, state, tmp_path) -> None:
    door, publish = f"tcp://0.0.0.0:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    config = settings(f"intake: {{bind: '{door}', publish: '{publish}', insecure: true}}\n")
    for _ in range(2):
        daemon = DaemonProcess(
            state, tmp_path, "--config", str(config), INCV3D_BIND=door, INCV3D_PUBLISH=publish
        )
        try:
            warning = daemon.wait_for("intake.insecure")
            assert "WARNING" in warning and door in warning and publish not in warning
            daemon.ready()
            with Client(door.replace("0.0.0.0", "127.0.0.1"), PATIENCE_S) as client:
                assert client.ask("ping")["state"] == "ready"
            assert daemon.stop() == 0
        finally:
            daemon.kill()


def test_the_commands_take_a_key(keyed, state, tmp_path) -> None:
    door = keyed()
    gate = door.key("gate")
    (tmp_path / "cat.jpg").write_bytes(jpeg())
    connect = ["--connect", door.address]
    for words in (["send", str(tmp_path / "cat.jpg")], ["classify", str(tmp_path / "cat.jpg")], ["info"]):
        done = run_incv3d(state, *words, *connect, "--key", str(gate))
        assert done.returncode == 0, done.stderr
        done = run_incv3d(state, *words, *connect, INCV3D_KEY=str(gate))
        assert done.returncode == 0, done.stderr
        done = run_incv3d(state, *words, *connect)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "the daemon requires a key: --key FILE" in done.stderr
        done = run_incv3d(state, *words, *connect, "--key", str(tmp_path / "gone.key"))
        assert done.returncode == 2
        assert done.stderr == f"incv3d: {tmp_path}/gone.key: cannot be read: No such file or directory\n"


def test_a_load_whose_key_is_revoked_ends_with_its_summary_and_the_reason(keyed, tmp_path) -> None:
    door = keyed()
    shed = door.key("shed")
    (tmp_path / "cat.jpg").write_bytes(jpeg())
    command = [sys.executable, "-m", "incv3d", "send", str(tmp_path), "--connect", door.address]
    process = subprocess.Popen(
        [*command, "--key", str(shed), "--duration", "600", "--quiet"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Client(door.address, PATIENCE_S, key=door.key("gate")) as friend:
        until(lambda: friend.ask("stats")["outcomes"].get("ok", 0) >= 3, "frames were classified")
    door.ring.revoke("shed")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "labels per second" in out and "ok: " in out
    assert err.count("\n") == 1 and "the daemon does not know this key" in err


def test_a_new_configuration_whose_keys_are_not_there_is_refused(settings, state, tmp_path) -> None:
    config = settings("{}")
    daemon = DaemonProcess(state, tmp_path, "--config", str(config))
    try:
        daemon.ready()
        config.write_text(f"model: {{top_k: 2}}\nintake: {{keys: {tmp_path}/none}}\n")
        daemon.signal(signal.SIGHUP)
        said = daemon.wait_for("the new configuration is rejected")
        assert f"{config}:2: intake.keys: there are no keys in {tmp_path}/none" in said
        assert daemon.stop() == 0
    finally:
        daemon.kill()
