"""What the doctor says of the door's keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from incv3d.config.loading import load_config
from incv3d.protocol.curve_keys import KeyFileDenied
from incv3d.tools.doctor import Finding
from incv3d.tools.doctor.access import check_access
from incv3d.tools.doctor.permissions import User
from incv3d.transports.zeromq.key_store import KeyStore

OPEN = "intake: {bind: 'tcp://*:5555'}"
SERVANT = User("incv3d", 4321, frozenset({4321}))


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Finding]:
    def check(text: str, service_user: User | None = None) -> Finding:
        path = tmp_path / "incv3d.yaml"
        path.write_text(text)
        return check_access(load_config(str(path), {}), {}, service_user)

    return check


def test_loopback_is_fine(look) -> None:
    assert look("{}") == Finding("access", "ok", "only this machine can connect")


def test_every_way_to_connect_is_reported(look, tmp_path: Path) -> None:
    token = f"token_file: {tmp_path}/token"
    http = look(f"http: {{bind: '0.0.0.0:8080', {token}}}")
    assert http.what.startswith(
        "only this machine can connect over ZeroMQ; other machines can connect over HTTP at"
    )
    assert "0.0.0.0:8080" in http.what and f"with the token in {tmp_path}/token" in http.what
    assert look(f"http: {{bind: '[::1]:8080', {token}}}").what == "only this machine can connect"
    assert "can publish to the broker 10.0.0.5" in look("mqtt: {host: 10.0.0.5, frames: incv3d/#}").what
    assert look("mqtt: {host: 10.0.0.5}").what == "only this machine can connect"


def test_access_without_keys_is_a_warning(look) -> None:
    finding = look("intake: {bind: 'tcp://*:5555', insecure: true}")
    assert finding.status == "warning" and "every machine that reaches tcp://*:5555" in finding.what
    assert "incv3d keys new" in finding.fix


def test_keys_are_counted(look, tmp_path: Path) -> None:
    missing = look(OPEN)
    assert missing.status == "problem" and "incv3d keys new" in missing.what
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    nobody = look(OPEN)
    assert (nobody.status, nobody.fix) == ("warning", "incv3d keys add CLIENT")
    ring.issue("gate", None)
    assert look(OPEN) == Finding("access", "ok", f"1 client can connect, with the keys in {ring.folder}")
    ring.server_file.chmod(0o644)
    loose = look(OPEN)
    assert loose.status == "problem" and "chmod 600" in loose.what


def test_keys_that_the_services_user_cannot_read_are_a_problem(look, tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    ring.issue("gate", None)
    finding = look(OPEN, SERVANT)
    assert finding.status == "problem" and "the service's user incv3d cannot read it" in finding.what
    assert finding.fix == f"sudo chown -R incv3d: {ring.folder}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_users_keys_are_reported(look, tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "keys")
    ring.new()
    config = tmp_path / "incv3d.yaml"
    config.write_text(OPEN)
    loaded = load_config(str(config), {})
    os.seteuid(4321)
    try:
        for attempt in (lambda: ring.exists, ring.clients, ring.server):
            with pytest.raises(KeyFileDenied, match="Permission denied"):
                attempt()
        finding = check_access(loaded, {}, None)
    finally:
        os.seteuid(0)
    assert (finding.status, finding.fix) == ("note", "run: sudo incv3d doctor")
