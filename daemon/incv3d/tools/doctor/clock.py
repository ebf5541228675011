"""Is the clock right? Frames carry times, and a Raspberry Pi forgets the time when it is switched off."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import incv3d
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host, fields
from incv3d.tools.doctor.programs import run_program

LIMIT_S = 10.0
SYNCHRONISE = "sudo timedatectl set-ntp true, and let the machine reach a time server (UDP 123)"


def check_clock(machine: Host, now: float | None = None) -> list[Finding]:
    """Whether the clock is synchronised, and whether it runs on while the power is off.

    :param now: seconds since 1970; None: as the clock says.
    """
    now = time.time() if now is None else now
    installed = Path(incv3d.__file__).stat().st_mtime
    said = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now < installed:
        what = f"it says {said}, and incv3d was installed after that: times in logs and answers are wrong"
        return [Finding("clock", "problem", what, SYNCHRONISE)]
    backed = any(machine.dev.glob("rtc*"))
    lost = "" if backed else "; no real-time clock: it stands still while the power is off"
    # timedatectl asks a service over D-Bus, which systemd must be there to start.
    if not (machine.run / "systemd/system").is_dir():
        return [
            Finding("clock", "note", f"{said}{lost}; without systemd nothing here tells if that is right")
        ]
    child = run_program(machine, ["timedatectl", "show"], LIMIT_S)
    facts = fields(child.out, "=")
    if child.status != 0 or "NTPSynchronized" not in facts:
        why = child.last_words or "it does not answer"
        what = f"{said}{lost}; timedatectl does not tell if that is right: {why}"
        return [Finding("clock", "note", what)]
    if facts["NTPSynchronized"] == "yes":
        return [Finding("clock", "ok", f"{said}, synchronised{lost}")]
    if facts.get("NTP") == "no":
        return [Finding("clock", "warning", f"{said}, and nothing synchronises it{lost}", SYNCHRONISE)]
    what = f"{said}, not synchronised (yet?){lost}"
    return [Finding("clock", "warning", what, f"is there a network? {SYNCHRONISE}")]
