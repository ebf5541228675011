"""Check the systemd service: installed, enabled, running, and sandboxed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from incv3d.machine import parse_fields
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.programs import run_program

UNIT = "incv3d.service"
LIMIT_S = 15.0
MOST_EXPOSED = 1.5
"""Of 10, as rated by ``systemd-analyze security``; the unit as shipped stays below."""
PROPERTIES = (
    "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "NRestarts", "NeedDaemonReload",
    "ExecStart", "MainPID", "User", "SupplementaryGroups", "StateDirectory", "LogsDirectory", "StatusText",
)  # fmt: skip
JOURNAL = "to see why: sudo journalctl -u incv3d -n 30"


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd reports about the unit."""

    systemd: bool = False
    """Whether systemd runs here."""
    error: str = ""
    """Why systemd could not be asked."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """The unit's properties (systemctl(1), ``show``)."""

    @property
    def installed(self) -> bool:
        """Whether the unit exists."""
        return self.facts.get("LoadState") not in (None, "", "not-found")

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self.facts.get("ActiveState") == "active"

    @property
    def user(self) -> str:
        """The user that it runs as; empty if it is not installed."""
        return (self.facts.get("User") or "root") if self.installed else ""

    @property
    def groups(self) -> list[str]:
        """Its groups in addition to those of its user."""
        return self.facts.get("SupplementaryGroups", "").split() if self.installed else []

    def runs(self, prefix: Path) -> bool:
        """Return whether it starts the program installed under `prefix`."""
        path = re.search(r"path=(\S+)", self.facts.get("ExecStart", ""))
        # The path contains links: /opt/incv3d/current is the current release.
        return (
            self.installed and path is not None and Path(path[1]).resolve().is_relative_to(prefix.resolve())
        )

    @property
    def pid(self) -> int:
        """The number of its process; 0: none."""
        return int(self.facts.get("MainPID") or 0)

    def directories(self) -> dict[str, str]:
        """Return the variables that systemd sets for it: ``STATE_DIRECTORY``, ``LOGS_DIRECTORY``."""
        parents = {
            "STATE_DIRECTORY": ("StateDirectory", "/var/lib"),
            "LOGS_DIRECTORY": ("LogsDirectory", "/var/log"),
        }
        names = {variable: self.facts.get(key, "").split()[:1] for variable, (key, _) in parents.items()}
        return {variable: f"{parents[variable][1]}/{name[0]}" for variable, name in names.items() if name}


def ask_systemd(machine: Host) -> Service:
    """Ask systemd about the unit."""
    if not (machine.run / "systemd/system").is_dir():
        return Service()
    child = run_program(machine, ["systemctl", "show", UNIT, f"--property={','.join(PROPERTIES)}"], LIMIT_S)
    if child.status != 0:
        return Service(systemd=True, error=child.last_error or "systemctl does not answer")
    return Service(systemd=True, facts=parse_fields(child.out, "="))


def check_service(machine: Host, service: Service) -> list[Finding]:
    """Report whether the service is installed, enabled and running, and its exposure."""
    if not service.systemd:
        return [Finding("service", "note", "systemd is not running here; start the daemon with `incv3d run`")]
    if service.error:
        fix = "try again when the machine has finished starting; see: systemctl status"
        return [Finding("service", "warning", f"systemd could not be asked: {service.error}", fix)]
    if not service.installed:
        what = "not installed: incv3d does not start at boot"
        return [Finding("service", "note", what, "in a checkout: sudo systemd/install")]
    loaded = service.facts["LoadState"]
    if loaded == "masked":
        return [Finding("service", "problem", "masked: it cannot be started", "sudo systemctl unmask incv3d")]
    if loaded != "loaded":
        fix = f"systemd-analyze verify {UNIT}; to write it again: sudo systemd/install"
        return [Finding("service", "problem", f"systemd cannot read its unit ({loaded})", fix)]
    return [*_state(service.facts), *_boot(service.facts), *_exposure(machine)]


def _state(facts: Mapping[str, str]) -> list[Finding]:
    state, restarts = facts.get("ActiveState", ""), facts.get("NRestarts", "0")
    name = "service"
    findings = []
    if facts.get("NeedDaemonReload") == "yes":
        what = "its unit has changed, and systemd has not reloaded it"
        fix = "sudo systemctl daemon-reload && sudo systemctl restart incv3d"
        findings.append(Finding(name, "warning", what, fix))
    if state == "failed":
        what = f"failed ({facts.get('Result')}); restarts so far: {restarts}"
        fix = f"{JOURNAL}; then: sudo systemctl restart incv3d"
        findings.append(Finding(name, "problem", what, fix))
    elif state == "inactive":
        findings.append(Finding(name, "warning", "installed but not running", "sudo systemctl start incv3d"))
    elif restarts not in ("", "0"):
        now = "running" if state == "active" else state
        what = f"{now}, but it failed and was restarted; restarts so far: {restarts}"
        findings.append(Finding(name, "warning", what, JOURNAL))
    elif state == "active":
        text = facts.get("StatusText")
        findings.append(Finding(name, "ok", f"running{f': {text}' if text else ''}"))
    else:  # activating, deactivating, reloading
        findings.append(Finding(name, "note", f"{state} ({facts.get('SubState')})"))
    return findings


def _boot(facts: Mapping[str, str]) -> list[Finding]:
    state = facts.get("UnitFileState", "")
    if state.startswith("enabled"):
        return [Finding("boot", "ok", "the service starts at boot")]
    what = f"the service does not start at boot ({state or 'not enabled'})"
    return [Finding("boot", "warning", what, "sudo systemctl enable incv3d")]


def _exposure(machine: Host) -> list[Finding]:
    child = run_program(machine, ["systemd-analyze", "security", "--no-pager", UNIT], LIMIT_S)
    said = re.search(r"Overall exposure level for .*?: ([0-9.]+) (\w+)", child.out)
    if not said:
        why = child.last_error or "no answer"
        return [Finding("sandbox", "note", f"unknown: systemd-analyze security: {why}")]
    what = f"exposure {said[1]} of 10 ({said[2]})"
    if float(said[1]) <= MOST_EXPOSED:
        return [Finding("sandbox", "ok", what)]
    fix = f"see which settings differ: systemctl cat incv3d; systemd-analyze security {UNIT}"
    return [Finding("sandbox", "warning", f"{what}, more than {MOST_EXPOSED}", fix)]
