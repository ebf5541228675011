"""Read the machine's temperature, throttling, memory and processor.

A reading is None if it is not available.
"""

from __future__ import annotations

import ctypes
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

TEMPERATURE = Path("class/thermal/thermal_zone0/temp")
THROTTLED = Path("devices/platform/soc/soc:firmware/get_throttled")
THROTTLING = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""Meaning of bits 0 to 3 of ``get_throttled``, which describe the present."""
M_ARENA_MAX = -8
ARENAS = 2
FRACTION = 0.9
"""The default limit, as a fraction of the memory that the process may use."""
PROCESSOR_LINES = (
    "vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "CPU variant", "Features",
)  # fmt: skip
"""Beginnings of the lines of ``/proc/cpuinfo`` that tell which instructions there are, and how fast."""
SINCE_BOOT = 16
"""Bits 16 to 19 mean that bits 0 to 3 have been set since boot."""


@dataclass(frozen=True, slots=True)
class SystemMemory:
    """The machine's memory, MiB."""

    total_mb: float
    available_mb: float | None
    """What programs can get without swapping; None before Linux 3.14."""
    swap_mb: float


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """The memory of a process, MiB."""

    peak_mb: float
    """The most that was resident."""
    anonymous_mb: float
    """What no file backs: the kernel cannot reclaim it without swap."""


@dataclass(frozen=True, slots=True)
class Readings:
    """The sensors at one moment, and this process's memory."""

    temp_c: float | None
    throttled: int | None
    """The Pi firmware's bits: :data:`THROTTLING` now, and since boot, shifted by :data:`SINCE_BOOT`."""
    rss_mb: float | None
    """Resident memory of this process, MiB."""


def read_machine(sys_root: Path = Path("/sys"), proc_root: Path = Path("/proc")) -> Readings:
    """Read the sensors; `sys_root` and `proc_root` are where sysfs and procfs are mounted."""
    millidegrees = _number(sys_root / TEMPERATURE, 10)
    return Readings(
        temp_c=None if millidegrees is None else millidegrees / 1000,
        throttled=_number(sys_root / THROTTLED, 16),
        rss_mb=_rss_mb(proc_root / "self" / "status"),
    )


def throttling(bits: int) -> list[str]:
    """Return the names of the bits that are set; shift `bits` by :data:`SINCE_BOOT` for those since boot."""
    return [words for bit, words in enumerate(THROTTLING) if bits >> bit & 1]


def has_descriptors() -> bool:
    """Return whether this process can open one more file or connection."""
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
    """Parse a file of ``Name:   12345 kB`` lines, to MiB; empty if it cannot be read."""
    try:
        lines = table.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return {}
    found = (re.fullmatch(r"(\w+):\s*(\d+) kB", line) for line in lines)
    return {each[1]: int(each[2]) / 1024 for each in found if each}


def system_memory(proc_root: Path = Path("/proc")) -> SystemMemory | None:
    """Return the machine's memory; None if it is not available."""
    found = _sizes_mb(proc_root / "meminfo")
    if "MemTotal" not in found:
        return None
    return SystemMemory(found["MemTotal"], found.get("MemAvailable"), found.get("SwapTotal", 0.0))


def process_memory(pid: int, proc_root: Path = Path("/proc")) -> ProcessMemory | None:
    """Return the memory of a process; None if it has ended."""
    found = _sizes_mb(proc_root / str(pid) / "status")
    return ProcessMemory(found["VmHWM"], found["RssAnon"]) if "VmHWM" in found else None


def available_memory_mb(proc_root: Path = Path("/proc")) -> float | None:
    """Return the memory that programs can still get, MiB, including swap; None if it is not available."""
    found = _sizes_mb(proc_root / "meminfo")
    if "MemAvailable" not in found:
        return None
    return found["MemAvailable"] + found.get("SwapFree", 0.0)


def processor_facts(proc_root: Path = Path("/proc")) -> dict[str, str]:
    """Return the fields of ``cpuinfo``, those of the first core; empty if it cannot be read."""
    return parse_fields(read_text(proc_root / "cpuinfo"), ":")


def board_name(proc_root: Path = Path("/proc")) -> str:
    """Return the board's name, such as ``Raspberry Pi 3 Model B Rev 1.2``; empty if there is none."""
    return read_text(proc_root / "device-tree/model") or processor_facts(proc_root).get("Model", "")


def read_text(path: Path) -> str:
    """Return the text of a small system file; empty if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""


def parse_fields(text: str, separator: str) -> dict[str, str]:
    """Return the first value of each ``key<separator>value`` line, without quotes."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, there, value = line.partition(separator)
        if there:
            found.setdefault(key.strip(), value.strip().strip('"'))
    return found


def private_memory_mb(proc_root: Path = Path("/proc")) -> float | None:
    """Return this process's private memory that no file backs, MiB, including what was swapped out.

    Mapped weights and libraries do not count: the kernel can reclaim their pages.
    """
    found = _sizes_mb(proc_root / "self" / "status")
    return found["RssAnon"] + found.get("VmSwap", 0.0) if "RssAnon" in found else None


def memory_limit_mb(proc_root: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return how much memory this process may use before the kernel slows or kills it, MiB.

    That is the minimum of the machine's memory and the limits of all its control groups: ``memory.high`` and
    ``memory.max`` (cgroup v2), or ``memory.limit_in_bytes`` (version 1).
    """
    limits = [total] if (total := _sizes_mb(proc_root / "meminfo").get("MemTotal")) else []
    for group in _memory_groups(proc_root, cgroups):
        for name in ("memory.high", "memory.max", "memory.limit_in_bytes"):
            size = _number(group / name, 10)  # `max`, no limit, is not a number
            if size is not None:
                limits.append(size / 1024 / 1024)
    return min(limits, default=None)


def _memory_groups(proc_root: Path, cgroups: Path) -> list[Path]:
    """Return the folders of this process's memory control group and of its parents."""
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
    """Return the limit: the configured one, else nine tenths of what this process may use."""
    if configured_mb:
        return float(configured_mb)
    return None if allowed_mb is None else allowed_mb * FRACTION


def spare_memory_mb(configured_mb: int = 0) -> float | None:
    """Return how much more memory this process can use, MiB; None if it is not available.

    The machine must have it free, and the process must stay below the memory guard's limit.

    :param configured_mb: ``daemon.memory_limit_mb``.
    """
    limit_mb, private_mb = limit_of(configured_mb, memory_limit_mb()), private_memory_mb()
    within = None if limit_mb is None or private_mb is None else max(0.0, limit_mb - private_mb)
    return min((each for each in (available_memory_mb(), within) if each is not None), default=None)


def processor(proc_root: Path = Path("/proc")) -> str:
    """Return the architecture and a checksum of the processor's model and features, ``x86_64 1c291ca3``.

    What was measured or made for one processor holds for others with the same name.
    """
    try:
        lines = (proc_root / "cpuinfo").read_text("ascii", errors="replace").splitlines()
    except OSError:
        lines = []  # no procfs: only the architecture is known
    facts = sorted({line for line in lines if line.startswith(PROCESSOR_LINES)})
    return f"{os.uname().machine} {zlib.crc32(chr(10).join(facts).encode()):08x}"


def limit_malloc_arenas() -> None:
    """Let all threads share two arenas of glibc's allocator. Call it before starting any threads.

    By default there are up to eight per core, and each keeps the memory that it once used for a large image
    (mallopt(3)). Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_ARENA_MAX, ARENAS)


def trim_heap() -> None:
    """Return freed memory to the system (malloc_trim(3)). Does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def processor_ticks(pid: int, proc_root: Path = Path("/proc")) -> int:
    """Return the processor time that a process and its descendants have used, in ticks of the clock."""
    parents, ticks = {}, {}
    for entry in proc_root.iterdir():
        if entry.name.isdecimal():
            # After the name, which may contain spaces: state, parent, ... and from the 12th on the times.
            fields = read_text(entry / "stat").rpartition(")")[2].split()
            if fields:
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = sum(map(int, fields[11:15]))
    family, waiting = set(), {pid}
    while waiting:
        family |= waiting
        waiting = {child for child, parent in parents.items() if parent in waiting}
    return sum(ticks.get(each, 0) for each in family)
