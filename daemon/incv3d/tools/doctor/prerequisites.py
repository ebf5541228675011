"""Check for mistakes that would keep `incv3d run` from starting, by calling `incv3d check-config`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.permissions import User
from incv3d.tools.doctor.programs import run_python
from incv3d.tools.doctor.service import Service

NAME = "configuration"
LIMIT_S = 60.0
LOOKED_AT_ELSEWHERE = frozenset(
    {"", "model.name", "intake.keys", "intake.bind", "intake.publish", "source.path"}
)
"""Keys about which other checks say more; empty: the configuration itself, which cannot be read."""
AGAIN = "correct it, then run: incv3d check-config"


def check_prerequisites(
    machine: Host, given: str | None, service: Service, service_user: User | None
) -> list[Finding]:
    """Report mistakes in the configuration, or in what it names, for the user who will run it.

    :param given: the value of ``--config``.
    :param service_user: the user that the service runs as; None: it is not installed.
    """
    folders = service.directories() if service.runs(machine.prefix) else {}
    place = ["--config", str(Path(given).absolute())] if given else []
    asked = replace(machine, environ={**folders, **machine.environ})
    child = run_python(asked, ["-m", "incv3d", "check-config", "--json", *place], LIMIT_S)
    if child.status is None:
        what = f"could not be checked within {LIMIT_S:.0f} s: a disk or a device may hang"
        return [Finding(NAME, "warning", what, "see: sudo dmesg")]
    if not child.out.startswith("{"):
        return [Finding(NAME, "warning", f"could not be checked: {child.last_error}", AGAIN)]
    answer = json.loads(child.out)
    findings = []
    for mistake in answer["mistakes"]:
        if re.sub(r"^sources\[\d+\]", "source", mistake["key"]) in LOOKED_AT_ELSEWHERE:
            continue
        if mistake["is_denied"] and service_user and answer["user"] not in (service_user.name, "root"):
            findings.append(Finding(NAME, "note", mistake["what"], "run: sudo incv3d doctor"))
        else:
            findings.append(Finding(NAME, "problem", mistake["what"], AGAIN))
    return findings
