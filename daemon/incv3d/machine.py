"""The machine's own readings: temperature, throttling, memory. Each is None where it cannot be had."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TEMPERATURE = Path("class/thermal/thermal_zone0/temp")
THROTTLED = Path("devices/platform/soc/soc:firmware/get_throttled")


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at the machine."""

    temp_c: float | None
    throttled: int | None
    """The Pi firmware's bits: 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature
    limit; 16 to 19 the same since boot."""
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
    try:
        lines = status.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), None)


def available_memory_mb(proc_root: Path = Path("/proc")) -> float | None:
    """Memory that programs can still have, MiB, swap included; None where it cannot be told."""
    try:
        lines = (proc_root / "meminfo").read_text("ascii", errors="replace").splitlines()
        found = {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines)}
        return (found["MemAvailable"] + found["SwapFree"]) / 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
