"""The machine's own readings: temperature, throttling, memory. Each is None where it cannot be had."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

TEMPERATURE = Path("class/thermal/thermal_zone0/temp")
THROTTLED = Path("devices/platform/soc/soc:firmware/get_throttled")
THROTTLING = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""What the bits 0 to 3 of ``get_throttled`` say of now."""
M_ARENA_MAX = -8
ARENAS = 2
FRACTION = 0.9
"""Of what the process may have, as the limit, where none is configured."""
SINCE_BOOT = 16
"""Bits 16 to 19 say of 0 to 3 that they were set at some time since boot."""


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at the machine."""

    temp_c: float | None
    throttled: int | None
    """The Pi firmware's bits: :data:`THROTTLING` now, and the same since boot from :data:`SINCE_BOOT` on."""
    rss_mb: float | None
    """Resident memory of this process, MiB."""


def read_machine(sys_root: Path = Path("/sys"), proc_root: Path = Path("/proc")) -> Readings:
    """Look at the machine now; `sys_root` and `proc_root` are where sysfs and procfs are mounted."""
    millidegrees = _number(sys_root / TEMPERATURE, 10)
    return Readings(
        temp_c=None if millidegrees is None else millidegrees / 1000,
        throttled=_number(sys_root / THROTTLED, 16),
        rss_mb=_rss_mb(proc_root / "self" / "status"),
    )


def throttling(bits: int) -> list[str]:
    """What limits the processor now, in words; shifted by :data:`SINCE_BOOT`, what did since boot."""
    return [words for bit, words in enumerate(THROTTLING) if bits >> bit & 1]


def has_descriptors() -> bool:
    """Whether this process may open one more file or connection."""
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _number(path: Path, base: int) -> int | None:
    try:
        return int(path.read_text("ascii").strip(), base)
    except (OSError, ValueError):
        return None


def _rss_mb(status: Path) -> float | None:
    return _sizes_mb(status).get("VmRSS")


def _sizes_mb(table: Path) -> dict[str, float]:
    """What a file of ``Name:   12345 kB`` lines says, MiB; empty where it cannot be read."""
    try:
        lines = table.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return {}
    found = (re.fullmatch(r"(\w+):\s*(\d+) kB", line) for line in lines)
    return {each[1]: int(each[2]) / 1024 for each in found if each}


def available_memory_mb(proc_root: Path = Path("/proc")) -> float | None:
    """Memory that programs can still have, MiB, swap included; None where it cannot be told."""
    found = _sizes_mb(proc_root / "meminfo")
    if "MemAvailable" not in found:
        return None
    return found["MemAvailable"] + found.get("SwapFree", 0.0)


def private_memory_mb(proc_root: Path = Path("/proc")) -> float | None:
    """What this process has for itself alone and no file holds, MiB, also where it was swapped out.

    Mapped weights and libraries are not part of it: the kernel takes their pages back as it likes.
    """
    found = _sizes_mb(proc_root / "self" / "status")
    return found["RssAnon"] + found.get("VmSwap", 0.0) if "RssAnon" in found else None


def memory_limit_mb(proc_root: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """What this process may have before the kernel slows or kills it, MiB; None where it cannot be told.

    The least of the machine's memory and the limits of every control group that it is in: ``memory.high``
    and ``memory.max`` (cgroup-v2), or ``memory.limit_in_bytes`` of the first version.
    """
    limits = [total] if (total := _sizes_mb(proc_root / "meminfo").get("MemTotal")) else []
    for group in _memory_groups(proc_root, cgroups):
        for name in ("memory.high", "memory.max", "memory.limit_in_bytes"):
            size = _number(group / name, 10)  # `max`, no limit, is no number
            if size is not None:
                limits.append(size / 1024 / 1024)
    return min(limits, default=None)


def _memory_groups(proc_root: Path, cgroups: Path) -> list[Path]:
    """The folders of this process's control group for memory and of all above it."""
    try:
        lines = (proc_root / "self" / "cgroup").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:  # hierarchy:controllers:path, with no controllers for version 2
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            root = cgroups / controllers
            folder = root / path.lstrip("/")
            groups += [folder, *(each for each in folder.parents if each.is_relative_to(root))]
    return groups


def limit_of(configured_mb: int, allowed_mb: float | None) -> float | None:
    """The limit: as configured, else nine tenths of what this process may have."""
    if configured_mb:
        return float(configured_mb)
    return None if allowed_mb is None else allowed_mb * FRACTION


def spare_memory_mb(configured_mb: int = 0) -> float | None:
    """Return how much more memory this process can take, MiB; None: it cannot be told.

    The machine must have it free, and the process must stay below the limit at which the guard ends it.

    :param configured_mb: ``daemon.memory_limit_mb``.
    """
    limit_mb, private_mb = limit_of(configured_mb, memory_limit_mb()), private_memory_mb()
    within = None if limit_mb is None or private_mb is None else max(0.0, limit_mb - private_mb)
    return min((each for each in (available_memory_mb(), within) if each is not None), default=None)


def limit_malloc_arenas() -> None:
    """Let all threads share two arenas of glibc's allocator. To be called before there are any threads.

    As many as eight a core grow on their own otherwise, and each keeps what it once held of a large picture
    (mallopt(3)). Without glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_ARENA_MAX, ARENAS)


def trim_heap() -> None:
    """Give memory that was freed back to the system (malloc_trim(3)). Without glibc nothing is done."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
