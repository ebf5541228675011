"""Check whether the wheels of TensorFlow and LiteRT run on this system, board and processor."""

from __future__ import annotations

import re
from importlib.util import find_spec

from incv3d.machine import board_name, parse_fields, processor_facts, read_text
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host

OLDEST_DEBIAN = 12
"""The first release with a recent enough Python."""
OLDEST_GLIBC = (2, 27)
"""From the wheels' tag, ``manylinux_2_27``."""
FEATURES = {"x86_64": ("sse4_1", "sse4_2"), "aarch64": ("asimd",)}
"""Processor features that every installation needs, as named in ``/proc/cpuinfo``: NumPy's baseline is
x86-64-v2; ASIMD is part of every ARMv8-A for Linux."""
OF_TENSORFLOW = {"x86_64": ("avx",)}
"""Those that only TensorFlow needs, according to its release notes (1.6)."""
NEWER = "use a Raspberry Pi 3 or newer with Raspberry Pi OS (64-bit)"
IMAGE_64 = "write Raspberry Pi OS (64-bit) to the card; a Raspberry Pi 3, Zero 2 W or newer can run it"


def check_system(machine: Host) -> list[Finding]:
    """Report the distribution, its version, whether it is 64-bit, and the C library."""
    return [*_distribution(machine), *_libc(machine)]


def check_processor(machine: Host) -> list[Finding]:
    """Report the board, and whether its processor has the features that the wheels need."""
    cpuinfo, board = processor_facts(machine.proc), board_name(machine.proc)
    cores = len(re.findall(r"^processor\s*:", read_text(machine.proc / "cpuinfo"), re.MULTILINE))
    name = cpuinfo.get("model name", machine.architecture)
    findings = [Finding("board", "ok" if "Raspberry Pi" in board else "note", board or "not a Raspberry Pi")]
    needed = FEATURES.get(machine.architecture, ())
    if not needed:
        what = f"{machine.architecture}: TensorFlow and LiteRT have no wheels for it"
        return [*findings, Finding("processor", "problem", what, NEWER)]
    if find_spec("tensorflow"):
        needed += OF_TENSORFLOW.get(machine.architecture, ())
    has = set((cpuinfo.get("flags") or cpuinfo.get("Features", "")).split())
    missing = [feature for feature in needed if feature not in has]
    if not has:
        what = f"{name}: {machine.proc}/cpuinfo does not list its features"
        findings.append(Finding("processor", "note", what))
    elif missing:
        crashes = "NumPy" if missing[0] in FEATURES[machine.architecture] else "TensorFlow"
        what = f"{name} lacks {', '.join(missing)}: {crashes} would crash with `Illegal instruction`"
        fix = "use a newer machine; in a virtual machine, pass the host's processor through (-cpu host)"
        findings.append(Finding("processor", "problem", what, fix))
    else:
        what = f"{name}, {cores} cores, {machine.architecture} with {', '.join(needed)}"
        findings.append(Finding("processor", "ok", what))
    return findings


def _distribution(machine: Host) -> list[Finding]:
    release = parse_fields(read_text(machine.etc / "os-release"), "=")
    name = release.get("PRETTY_NAME", "unknown Linux (no /etc/os-release)")
    if (machine.etc / "rpi-issue").exists():
        name = f"Raspberry Pi OS on {name}"
    what = f"{name}, {machine.bits}-bit"
    if machine.bits == 32:
        kernel = f" (the kernel is {machine.architecture})" if machine.architecture == "aarch64" else ""
        what += f"{kernel}: TensorFlow and LiteRT have no 32-bit wheels"
        return [Finding("system", "problem", what, IMAGE_64)]
    if release.get("ID") not in ("debian", "raspbian"):
        return [Finding("system", "note", f"{what}; tested on Debian 12 and 13 and Raspberry Pi OS only")]
    version = release.get("VERSION_ID", "")
    if version.isdecimal() and int(version) < OLDEST_DEBIAN:
        fix = "install Debian 12 or 13, or the current Raspberry Pi OS"
        return [Finding("system", "warning", f"{what} is too old for the packages that incv3d needs", fix)]
    return [Finding("system", "ok", what)]


def _libc(machine: Host) -> list[Finding]:
    name, version = machine.libc
    oldest = ".".join(map(str, OLDEST_GLIBC))
    if name != "glibc":
        fix = "use a distribution with glibc, such as Debian"
        return [Finding("libc", "problem", f"not glibc: the wheels need glibc {oldest} or newer", fix)]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_GLIBC:
        fix = "install Debian 12 or 13, or the current Raspberry Pi OS"
        return [Finding("libc", "problem", f"glibc {version}: the wheels need {oldest} or newer", fix)]
    return [Finding("libc", "ok", f"glibc {version}")]
