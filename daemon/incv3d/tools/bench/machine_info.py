"""The machine that a benchmark ran on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from incv3d.machine import read_machine

DEVICE_TREE = Path("device-tree/model")
CPU0 = Path("devices/system/cpu/cpu0/cpufreq")
NVIDIA = Path("driver/nvidia/gpus")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the machine; None where it cannot be told."""

    board: str | None
    """``Raspberry Pi 3 Model B Rev 1.2``."""
    processor: str
    architecture: str
    cores: int
    """That this process may use."""
    memory_mb: int | None
    governor: str | None
    frequency_mhz: float | None
    """Now."""
    highest_mhz: float | None
    temp_c: float | None
    throttled: str | None
    """The Pi firmware's bits, ``0x0`` when all is well."""
    gpus: tuple[str, ...]
    system: str
    python: str

    def lines(self) -> list[str]:
        """For people."""
        memory = f"{self.memory_mb} MB" if self.memory_mb else ""
        clock = [f"{self.frequency_mhz:.0f} MHz" if self.frequency_mhz else ""]
        clock += [f"of {self.highest_mhz:.0f}" if self.highest_mhz else ""]
        clock += [f"governor {self.governor}" if self.governor else ""]
        warm = [f"{self.temp_c:.1f} °C" if self.temp_c is not None else ""]
        warm += [f"throttled {self.throttled}" if self.throttled else ""]
        named = ", ".join(filter(None, [self.board, self.processor, f"{self.cores} cores", memory]))
        state = ", ".join(filter(None, [" ".join(filter(None, clock)), *warm]))
        return [
            named,
            *([state] if state else []),
            *(f"GPU: {gpu}" for gpu in self.gpus),
            f"{self.system}, {self.architecture}, Python {self.python}",
        ]


def look(sys_root: Path = Path("/sys"), proc_root: Path = Path("/proc")) -> Device:
    """This machine, now; `sys_root` and `proc_root` are where sysfs and procfs are mounted."""
    readings = read_machine(sys_root, proc_root)
    cpuinfo = _fields(_read(proc_root / "cpuinfo"))
    memory_kb = _fields(_read(proc_root / "meminfo")).get("MemTotal", "").split()
    return Device(
        board=_read(proc_root / DEVICE_TREE).strip("\0\n ") or cpuinfo.get("Model"),
        processor=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=int(memory_kb[0]) // 1024 if memory_kb else None,
        governor=_read(sys_root / CPU0 / "scaling_governor").strip() or None,
        frequency_mhz=_mhz(sys_root / CPU0 / "scaling_cur_freq"),
        highest_mhz=_mhz(sys_root / CPU0 / "cpuinfo_max_freq"),
        temp_c=readings.temp_c,
        throttled=None if readings.throttled is None else hex(readings.throttled),
        gpus=tuple(
            model
            for file in sorted((proc_root / NVIDIA).glob("*/information"))
            if (model := _fields(_read(file)).get("Model"))
        ),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _fields(text: str) -> dict[str, str]:
    """The first value of each ``key : value``."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _mhz(path: Path) -> float | None:
    text = _read(path).strip()
    return int(text) / 1000 if text.isdecimal() else None
