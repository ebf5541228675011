"""The operating system, the board and its processor: do the wheels of TensorFlow and LiteRT run here?"""

from __future__ import annotations

import re

from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host, fields, read

OLDEST_DEBIAN = 12
"""The first whose Python is new enough."""
OLDEST_GLIBC = (2, 27)
"""The wheels' tag is ``manylinux_2_27``."""
FEATURES = {"x86_64": ("sse4_1", "sse4_2", "avx"), "aarch64": ("asimd",)}
"""What the wheels' code uses without asking, as ``/proc/cpuinfo`` calls it: TensorFlow's release notes
(1.6) for AVX, numpy's baseline (x86-64-v2) for SSE 4; ASIMD is part of every ARMv8-A for Linux."""
NEWER = "take a Raspberry Pi 3, or larger, with Raspberry Pi OS (64-bit)"
IMAGE_64 = "write Raspberry Pi OS (64-bit) to the card: a Raspberry Pi 3, Zero 2 W or newer runs it"


def check_system(machine: Host) -> list[Finding]:
    """Distribution, its version, whether programs are of 64 bits, and the C library."""
    return [*_distribution(machine), *_libc(machine)]


def check_processor(machine: Host) -> list[Finding]:
    """The board, and whether its processor has what the wheels need."""
    cpuinfo = fields(read(machine.proc / "cpuinfo"), ":")
    board = read(machine.proc / "device-tree/model") or cpuinfo.get("Model", "")
    cores = len(re.findall(r"^processor\s*:", read(machine.proc / "cpuinfo"), re.MULTILINE))
    name = cpuinfo.get("model name", machine.architecture)
    findings = [Finding("board", "ok" if "Raspberry Pi" in board else "note", board or "not a Raspberry Pi")]
    needed = FEATURES.get(machine.architecture)
    if needed is None:
        what = f"{machine.architecture}: there are no wheels of TensorFlow and LiteRT for it"
        return [*findings, Finding("processor", "problem", what, NEWER)]
    has = set((cpuinfo.get("flags") or cpuinfo.get("Features", "")).split())
    missing = [feature for feature in needed if feature not in has]
    if not has:
        what = f"{name}: {machine.proc}/cpuinfo does not list its features"
        findings.append(Finding("processor", "note", what))
    elif missing:
        what = f"{name} has no {', '.join(missing)}: TensorFlow would end with `Illegal instruction`"
        fix = "take a newer machine; in a virtual machine: hand the host's processor through (-cpu host)"
        findings.append(Finding("processor", "problem", what, fix))
    else:
        what = f"{name}, {cores} cores, {machine.architecture} with {', '.join(needed)}"
        findings.append(Finding("processor", "ok", what))
    return findings


def _distribution(machine: Host) -> list[Finding]:
    release = fields(read(machine.etc / "os-release"), "=")
    name = release.get("PRETTY_NAME", "a Linux without /etc/os-release")
    if (machine.etc / "rpi-issue").exists():
        name = f"Raspberry Pi OS on {name}"
    what = f"{name}, {machine.bits}-bit"
    if machine.bits == 32:
        kernel = f" (the kernel is {machine.architecture})" if machine.architecture == "aarch64" else ""
        what += f"{kernel}: there are no wheels of TensorFlow and LiteRT for 32 bits"
        return [Finding("system", "problem", what, IMAGE_64)]
    if release.get("ID") not in ("debian", "raspbian"):
        return [Finding("system", "note", f"{what}; tried were Debian 12 and 13 and Raspberry Pi OS")]
    version = release.get("VERSION_ID", "")
    if version.isdecimal() and int(version) < OLDEST_DEBIAN:
        fix = "install Debian 12 or 13, or today's Raspberry Pi OS"
        return [Finding("system", "warning", f"{what} is too old for the packages that incv3d needs", fix)]
    return [Finding("system", "ok", what)]


def _libc(machine: Host) -> list[Finding]:
    name, version = machine.libc
    oldest = ".".join(map(str, OLDEST_GLIBC))
    if name != "glibc":
        fix = "take a distribution with glibc, such as Debian"
        return [Finding("libc", "problem", f"not glibc: the wheels need glibc {oldest} or newer", fix)]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_GLIBC:
        fix = "install Debian 12 or 13, or today's Raspberry Pi OS"
        return [Finding("libc", "problem", f"glibc {version}: the wheels need {oldest} or newer", fix)]
    return [Finding("libc", "ok", f"glibc {version}")]
