"""Check the clock. Frames carry times, and a Raspberry Pi loses the time when it is switched off."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import incv3d
from incv3d.machine import parse_fields
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.programs import run_program

LIMIT_S = 10.0
SYNCHRONIZE = "sudo timedatectl set-ntp true, and make sure that a time server can be reached (UDP 123)"


def check_clock(machine: Host, now: float | None = None) -> list[Finding]:
    """Report whether the clock is synchronized, and whether it keeps time without power.

    :param now: seconds since 1970; None: as the clock says.
    """
    now = time.time() if now is None else now
    installed = Path(incv3d.__file__).stat().st_mtime
    said = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now < installed:
        what = f"it shows {said}, but incv3d was installed later: times in logs and answers are wrong"
        return [Finding("clock", "problem", what, SYNCHRONIZE)]
    backed = any(machine.dev.glob("rtc*"))
    lost = "" if backed else "; no real-time clock: the time is lost without power"
    # timedatectl asks a D-Bus service, which only systemd can start.
    if not (machine.run / "systemd/system").is_dir():
        return [Finding("clock", "note", f"{said}{lost}; cannot tell whether it is right without systemd")]
    child = run_program(machine, ["timedatectl", "show"], LIMIT_S)
    facts = parse_fields(child.out, "=")
    if child.status != 0 or "NTPSynchronized" not in facts:
        why = child.last_error or "no answer"
        what = f"{said}{lost}; timedatectl cannot tell whether it is right: {why}"
        return [Finding("clock", "note", what)]
    if facts["NTPSynchronized"] == "yes":
        return [Finding("clock", "ok", f"{said}, synchronized{lost}")]
    if facts.get("NTP") == "no":
        return [Finding("clock", "warning", f"{said}, but synchronization is off{lost}", SYNCHRONIZE)]
    what = f"{said}, not synchronized (yet){lost}"
    return [Finding("clock", "warning", what, f"check the network; {SYNCHRONIZE}")]
