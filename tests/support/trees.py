"""A machine to look at: real files in the places where the kernel and Debian have theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from incv3d.tools.doctor import Finding, Host

A53 = """\
processor	: 0
model name	: ARMv8 Processor rev 4 (v8l)
Features	: fp asimd evtstrm crc32 cpuid

processor	: 1
model name	: ARMv8 Processor rev 4 (v8l)
Features	: fp asimd evtstrm crc32 cpuid

Model		: Raspberry Pi 3 Model B Rev 1.2
"""
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
MEMINFO = "MemTotal: 936000 kB\nMemAvailable: 700000 kB\nSwapTotal: 524288 kB\nSwapFree: 524288 kB\n"


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def bare(root: Path, **other: Any) -> Host:
    """A machine whose files tell nothing, with nothing but a shell on its ``PATH``."""
    places = {name: root / name for name in ("proc", "sysfs", "dev", "etc", "run")}
    for place in (*places.values(), root / "bin"):
        place.mkdir(exist_ok=True)
    environ = {"PATH": f"{root}/bin", "STATE_DIRECTORY": str(root / "state"), "HOME": str(root)}
    if "PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return Host(**{**places, "environ": environ, **other})


def raspberry_pi(root: Path, **other: Any) -> Host:
    """A Raspberry Pi 3 that is well, with a 64-bit Raspberry Pi OS."""
    machine = bare(root, **{"architecture": "aarch64", "bits": 64, "libc": ("glibc", "2.36"), **other})
    write(machine.etc / "os-release", BOOKWORM)
    write(machine.etc / "rpi-issue", "Raspberry Pi reference 2024-11-19\n")
    write(machine.proc / "device-tree/model", "Raspberry Pi 3 Model B Rev 1.2\0")
    write(machine.proc / "cpuinfo", A53)
    write(machine.proc / "meminfo", MEMINFO)
    write(machine.sysfs / "class/thermal/thermal_zone0/temp", "48312\n")
    write(machine.sysfs / "devices/platform/soc/soc:firmware/get_throttled", "0\n")
    write(machine.sysfs / "fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    return machine


def booted(machine: Host) -> Host:
    """The same machine, with systemd as its first process."""
    (machine.run / "systemd/system").mkdir(parents=True)
    return machine


def program(machine: Host, name: str, script: str) -> None:
    """Put a shell script on the machine's ``PATH``."""
    write(Path(machine.environ["PATH"]) / name, f"#!/bin/sh\n{script}\n", 0o755)


def statuses(findings: list[Finding]) -> dict[str, str]:
    """The status of each finding by its name."""
    return {finding.name: finding.status for finding in findings}


def only(findings: list[Finding], name: str) -> Finding:
    """The one finding of that name."""
    (found,) = [finding for finding in findings if finding.name == name]
    return found
