"""What `incv3d run` would refuse to start with, as `incv3d check-config` finds it by the same checks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.permissions import Person
from incv3d.tools.doctor.programs import run_python
from incv3d.tools.doctor.service import Service

NAME = "configuration"
LIMIT_S = 60.0
LOOKED_AT_ELSEWHERE = frozenset({"model.name", "intake.keys", "intake.bind", "intake.publish", "source.path"})
"""Keys of which other checks of the doctor say more."""
AGAIN = "correct it, then: incv3d check-config"


def check_prerequisites(
    machine: Host, given: str | None, service: Service, servant: Person | None
) -> list[Finding]:
    """Return what is wrong with the configuration, or with what it names, for the user who will run it.

    :param given: the value of ``--config``.
    :param servant: the user that the service runs as; None: it is not installed.
    """
    folders = service.directories() if service.runs(machine.prefix) else {}
    place = ["--config", str(Path(given).absolute())] if given else []
    asked = replace(machine, environ={**folders, **machine.environ})
    child = run_python(asked, ["-m", "incv3d", "check-config", "--json", *place], LIMIT_S)
    if child.status is None:
        what = f"could not be looked at within {LIMIT_S:.0f} s"
        return [Finding(NAME, "warning", what, "does a disk or a device hang? see: sudo dmesg")]
    if not child.out.startswith("{"):
        if child.status == 2:
            return []  # it cannot be read, which is said already
        return [Finding(NAME, "warning", f"could not be looked at: {child.last_words}", AGAIN)]
    answer = json.loads(child.out)
    findings = []
    for mistake in answer["mistakes"]:
        if mistake["key"] in LOOKED_AT_ELSEWHERE:
            continue
        if mistake["is_denied"] and servant and answer["user"] not in (servant.name, "root"):
            findings.append(Finding(NAME, "note", mistake["what"], "sudo incv3d doctor sees more"))
        else:
            findings.append(Finding(NAME, "problem", mistake["what"], AGAIN))
    return findings
