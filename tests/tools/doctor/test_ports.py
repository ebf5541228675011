"""The door's addresses: free, in use by a stranger, in use by a real incv3d."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.config.intake import IntakeSection
from incv3d.tools.doctor import Finding, Host
from incv3d.tools.doctor.ports import ask_daemon, check_ports
from incv3d.transports.zeromq.key_store import KeyStore
from processes import DaemonProcess
from trees import bare, only, statuses


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of something that listens and is not incv3d."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def look(intake: IntakeSection) -> list[Finding]:
    return check_ports(Host(), intake, ask_daemon(intake))


def test_free_addresses_are_ok_and_stay_free() -> None:
    intake = IntakeSection(
        bind=f"tcp://127.0.0.1:{free_port()}", publish=f"tcp://*:{free_port()}", queue_limit=1
    )
    for _ in range(2):
        findings = look(intake)
        assert statuses(findings) == {"intake.bind": "ok", "intake.publish": "ok"}
        assert all(finding.what.endswith("free (incv3d is not running)") for finding in findings)


def test_another_program_at_the_address_is_named(stranger: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incv3d.tools.doctor.ports.ASK_LIMIT_S", 0.5)
    finding = only(look(IntakeSection(bind=f"tcp://127.0.0.1:{stranger}", publish="")), "intake.bind")
    assert finding.status == "problem"
    assert f"(pid {os.getpid()})" in finding.what and "gives no incv3d answer" in finding.what
    assert f"'sport = :{stranger}'" in finding.fix and "another address (intake.bind)" in finding.fix


def test_another_program_at_the_publish_address_is_named(stranger: int) -> None:
    intake = IntakeSection(bind=f"tcp://127.0.0.1:{free_port()}", publish=f"tcp://127.0.0.1:{stranger}")
    findings = look(intake)
    assert statuses(findings) == {"intake.bind": "ok", "intake.publish": "problem"}


def test_a_user_who_cannot_see_the_program_gets_a_command_that_shows_it(
    stranger: int, tmp_path: Path
) -> None:
    intake = IntakeSection(bind=f"tcp://127.0.0.1:{free_port()}", publish=f"tcp://127.0.0.1:{stranger}")
    finding = only(check_ports(bare(tmp_path), intake, ask_daemon(intake)), "intake.publish")
    assert "another program listens there" in finding.what and "sudo ss -ltnp" in finding.fix


def test_incv3d_itself_is_recognized(state: Path, tmp_path: Path) -> None:
    addresses = {
        "INCV3D_BIND": f"tcp://127.0.0.1:{free_port()}",
        "INCV3D_PUBLISH": f"ipc://{tmp_path}/results",
    }
    daemon = DaemonProcess(state, tmp_path, **addresses).ready()
    try:
        intake = IntakeSection(bind=addresses["INCV3D_BIND"], publish=addresses["INCV3D_PUBLISH"])
        findings = look(intake)
        assert statuses(findings) == {"intake.bind": "ok", "intake.publish": "ok"}, findings
        assert "answers: ready, efficientnet-lite0 on" in only(findings, "intake.bind").what
        elsewhere = IntakeSection(bind=addresses["INCV3D_BIND"], publish=f"tcp://127.0.0.1:{free_port()}")
        assert only(look(elsewhere), "intake.publish").status == "note"
    finally:
        daemon.stop()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://203.0.113.7:5555", "to an address of this machine"),
        ("tcp://no-such-host.invalid:5555", "to an address of this machine"),
        ("ipc:///no/such/folder/door", "create its folder"),
    ],
)
def test_an_address_that_is_not_this_machines_is_a_problem(address: str, words: str) -> None:
    finding = only(look(IntakeSection(bind=address, publish="")), "intake.bind")
    assert finding.status == "problem" and words in finding.fix


def test_a_killed_daemons_socket_can_be_reused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{tmp_path}/door")
        left.listen()
    intake = IntakeSection(bind=f"ipc://{tmp_path}/door", publish="")
    assert only(look(intake), "intake.bind").status == "ok"
    assert (tmp_path / "door").exists()


def test_an_ipc_socket_in_use_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incv3d.tools.doctor.ports.ASK_LIMIT_S", 0.5)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{tmp_path}/door")
        other.listen()
        finding = only(look(IntakeSection(bind=f"ipc://{tmp_path}/door", publish="")), "intake.bind")
    assert finding.status == "problem" and f"sudo ss -xlp src {tmp_path}/door" in finding.fix


def test_a_daemon_that_requires_a_key_is_recognized(state: Path, tmp_path: Path) -> None:
    KeyStore(tmp_path / "keys").new()
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"intake: {{keys: {tmp_path}/keys}}\n")
    door, results = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    daemon = DaemonProcess(
        state, tmp_path, "--config", str(config), INCV3D_BIND=door, INCV3D_PUBLISH=results
    ).ready()
    try:
        findings = look(IntakeSection(bind=door, publish=results))
        assert statuses(findings) == {"intake.bind": "ok", "intake.publish": "ok"}, findings
        assert "requires a key" in only(findings, "intake.bind").what
    finally:
        daemon.stop()
