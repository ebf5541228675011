"""The unit, with what systemd 252 really says in place of systemctl and systemd-analyze."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.config.schema import Config
from incv3d.tools.doctor import Finding, Host
from incv3d.tools.doctor.installation import installation_of
from incv3d.tools.doctor.service import Service, ask_systemd, check_service
from trees import bare, booted, only, program, statuses

RUNNING = {
    "NRestarts": "0",
    "ExecStart": "{ path=/opt/incv3d/bin/incv3d ; argv[]=/opt/incv3d/bin/incv3d run ; ignore_errors=no ; "
    "start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }",
    "Result": "success",
    "StatusText": "inception-v3 on litert, 1.9 fps, p95 560 ms",
    "User": "incv3d",
    "SupplementaryGroups": "video",
    "StateDirectory": "incv3d",
    "LogsDirectory": "incv3d",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
}


def with_unit(tmp_path: Path, exposure: str = "1.2 OK 🙂", **facts: str) -> Host:
    machine = booted(bare(tmp_path))
    shown = "\n".join(f"{key}={value}" for key, value in {**RUNNING, **facts}.items())
    program(machine, "systemctl", f"/bin/cat <<'END'\n{shown}\nEND")
    program(machine, "systemd-analyze", f"echo '→ Overall exposure level for incv3d.service: {exposure}'")
    return machine


def look(machine: Host) -> list[Finding]:
    return check_service(machine, ask_systemd(machine))


def test_a_running_service_is_ok_and_shows_its_status(tmp_path: Path) -> None:
    findings = look(with_unit(tmp_path))
    assert statuses(findings) == {"service": "ok", "boot": "ok", "sandbox": "ok"}
    assert only(findings, "service").what == "running: inception-v3 on litert, 1.9 fps, p95 560 ms"
    assert only(findings, "sandbox").what == "exposure 1.2 of 10 (OK)"


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"ActiveState": "failed", "Result": "watchdog"}, "problem", "failed (watchdog)"),
        ({"ActiveState": "inactive"}, "warning", "installed but not running"),
        ({"NRestarts": "7"}, "warning", "restarts so far: 7"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "3"}, "warning", "so far: 3"),
        ({"ActiveState": "activating", "SubState": "start"}, "note", "activating (start)"),
        ({"LoadState": "masked"}, "problem", "it cannot be started"),
        ({"LoadState": "bad-setting"}, "problem", "cannot read its unit (bad-setting)"),
        ({"LoadState": "not-found"}, "note", "not installed"),
    ],
)
def test_what_is_wrong_with_it_is_said(
    tmp_path: Path, facts: dict[str, str], status: str, words: str
) -> None:
    finding = only(look(with_unit(tmp_path, **facts)), "service")
    assert finding.status == status and words in finding.what
    assert finding.fix or status == "note"


def test_a_unit_that_was_not_reloaded_is_a_separate_warning(tmp_path: Path) -> None:
    findings = look(with_unit(tmp_path, NeedDaemonReload="yes"))
    assert [f.status for f in findings if f.name == "service"] == ["warning", "ok"]
    assert "daemon-reload" in findings[0].fix


def test_a_service_that_does_not_come_up_at_boot_is_a_warning(tmp_path: Path) -> None:
    finding = only(look(with_unit(tmp_path, UnitFileState="disabled")), "boot")
    assert finding.status == "warning" and finding.fix == "sudo systemctl enable incv3d"


def test_a_unit_with_a_weaker_sandbox_is_a_warning(tmp_path: Path) -> None:
    finding = only(look(with_unit(tmp_path, exposure="8.7 EXPOSED 🙁")), "sandbox")
    assert finding.status == "warning" and "exposure 8.7 of 10" in finding.what


def test_without_systemd_there_is_a_note_and_nothing_is_asked(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    program(machine, "systemctl", "exit 99")
    assert statuses(look(machine)) == {"service": "note"}


def test_a_systemd_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    machine = booted(bare(tmp_path))
    program(machine, "systemctl", "echo 'Failed to connect to bus: Connection refused' >&2; exit 1")
    finding = only(look(machine), "service")
    assert finding.status == "warning" and "Connection refused" in finding.what


def test_the_folders_are_the_services_if_it_starts_this_very_program(tmp_path: Path) -> None:
    service = Service(systemd=True, facts=RUNNING)
    installed = Host(prefix=Path("/opt/incv3d"), environ={"HOME": "/home/pi"})
    setup = installation_of(Config(), installed, service)
    assert (setup.store, setup.log) == (Path("/var/lib/incv3d"), Path("/var/log/incv3d/latency.log"))
    assert setup.by_systemd == {Path("/var/lib/incv3d"), Path("/var/log/incv3d")}
    linked = tmp_path / "current"
    (tmp_path / "releases/1/bin").mkdir(parents=True)
    linked.symlink_to("releases/1")
    through = Service(systemd=True, facts={**RUNNING, "ExecStart": f"{{ path={linked}/bin/incv3d ; }}"})
    assert installation_of(Config(), Host(prefix=tmp_path / "releases/1", environ={}), through).by_systemd
    elsewhere = Host(prefix=tmp_path / "checkout/.venv", environ={"HOME": "/home/pi"})
    setup = installation_of(Config(), elsewhere, service)
    assert setup.store == Path("/home/pi/.local/share/incv3d") and not setup.by_systemd
