"""Describe the machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from incv3d.machine import (
    board_name,
    parse_fields,
    processor_facts,
    read_machine,
    read_text,
    system_memory,
)

CPU0 = Path("devices/system/cpu/cpu0/cpufreq")
NVIDIA = Path("driver/nvidia/gpus")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the machine; None if not available."""

    board: str | None
    """``Raspberry Pi 3 Model B Rev 1.2``."""
    processor: str
    architecture: str
    cores: int
    """Cores that this process may use."""
    memory_mb: int | None
    governor: str | None
    frequency_mhz: float | None
    """Current frequency."""
    highest_mhz: float | None
    temp_c: float | None
    throttled: str | None
    """The Pi firmware's bits; ``0x0`` if nothing is limited."""
    gpus: tuple[str, ...]
    system: str
    python: str

    def lines(self) -> list[str]:
        """Return the facts as lines of text."""
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


def describe_machine(sys_root: Path = Path("/sys"), proc_root: Path = Path("/proc")) -> Device:
    """Describe this machine; `sys_root` and `proc_root` are where sysfs and procfs are mounted."""
    readings, memory = read_machine(sys_root, proc_root), system_memory(proc_root)
    return Device(
        board=board_name(proc_root) or None,
        processor=processor_facts(proc_root).get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=int(memory.total_mb) if memory else None,
        governor=read_text(sys_root / CPU0 / "scaling_governor") or None,
        frequency_mhz=_mhz(sys_root / CPU0 / "scaling_cur_freq"),
        highest_mhz=_mhz(sys_root / CPU0 / "cpuinfo_max_freq"),
        temp_c=readings.temp_c,
        throttled=None if readings.throttled is None else hex(readings.throttled),
        gpus=tuple(
            model
            for file in sorted((proc_root / NVIDIA).glob("*/information"))
            if (model := parse_fields(read_text(file), ":").get("Model"))
        ),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def _mhz(path: Path) -> float | None:
    text = read_text(path)
    return int(text) / 1000 if text.isdecimal() else None
