"""Counts what a program executes on an emulated Cortex-A53: QEMU's user mode with the plugin of ``a53/``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "a53"
PLUGIN = ("plugin.c", "caches.c", "issue.c", "decode.c", "decode_memory.c", "decode_vector.c")
TOOLS = {"qemu-aarch64": "qemu-user", "gcc": "gcc"}
SELFCHECK_TOOLS = {**TOOLS, "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"}
"""Programs, and Debian's packages in which they are."""
STRICT = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
LINE_BYTES = 64
KHZ = 1_200_000
"""A Raspberry Pi 3 Model B's clock."""
CORE = """processor\t: {number}
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd03
CPU revision\t: 4

"""
MIDR = "0x00000000410fd034"
"""The same, as the register MIDR_EL1 has it: a Cortex-A53 r0p4."""
CACHES = (("1", "Data", "32K"), ("1", "Instruction", "32K"), ("2", "Unified", "512K"))
"""Level, type and size, as in sysfs: ncnn chooses the tiles of its matrix products by them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was executed between two marks."""

    instructions: int
    cycles: float
    """By the issue model, with all data in the first-level cache."""
    fills: int
    """Cache lines that came from memory."""
    writebacks: int
    """Cache lines that went to memory."""

    @property
    def memory_mb(self) -> float:
        """Bytes from and to memory, MB."""
        return (self.fills + self.writebacks) * LINE_BYTES / 1e6


def build_plugin(lab: Path) -> Path:
    """Compile the plugin; returns its path."""
    plugin = lab / "a53.so"
    sources = [str(SOURCES / name) for name in PLUGIN]
    subprocess.run(
        ["gcc", *STRICT, "-fPIC", "-fvisibility=hidden", "-shared", "-o", plugin, *sources], check=True
    )
    return plugin


def count(
    plugin: Path, out: Path, command: Sequence[str | Path], prefix: Path | None = None, **environ: str
) -> tuple[list[Counts], str]:
    """Run an arm64 program that uses one thread to its end.

    :param out: the file for the plugin's lines.
    :param prefix: where the program finds what it opens, before it is looked for on this machine.
    :returns: what it executed up to each mark since the mark before it, and what it printed.
    :raises CalledProcessError: it failed.
    """
    out.unlink(missing_ok=True)
    own = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environ,
    }
    settings = [word for name, value in own.items() for word in ("-E", f"{name}={value}")]
    where = ["-L", str(prefix)] if prefix else []
    qemu = ["qemu-aarch64", "-cpu", "cortex-a53", *where, *settings, "-plugin", f"{plugin},out={out}"]
    done = subprocess.run(
        [*qemu, *command], env={"PATH": own["PATH"]}, stdout=subprocess.PIPE, text=True, check=True
    )
    fields = ("instructions", "cycles", "fills", "writebacks")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    return [Counts(**{field: line[field] for field in fields}) for line in lines], done.stdout


def make_view(root: Path, view: Path) -> None:
    """Make a folder that shows a program the files of `root`, and the processor of a Raspberry Pi 3.

    XNNPACK, TensorFlow and ncnn choose their kernels by what ``/proc`` and ``/sys`` say of the processor.
    QEMU's user mode would show them this machine's.
    """
    view.mkdir(parents=True, exist_ok=True)
    for name in ("bin", "etc", "lib", "opt", "usr"):
        (view / name).unlink(missing_ok=True)
        (view / name).symlink_to(root / name)
    cpuinfo = "".join(CORE.format(number=number) for number in range(4))
    _write(
        view / "proc/cpuinfo", f"{cpuinfo}Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 3 Model B Rev 1.2\n"
    )
    cpus = view / "sys/devices/system/cpu"
    for each in ("online", "possible", "present"):
        _write(cpus / each, "0-3\n")
    for number in range(4):
        core = cpus / f"cpu{number}"
        _write(core / "regs/identification/midr_el1", f"{MIDR}\n")
        _write(core / "cpufreq/cpuinfo_min_freq", f"{KHZ // 2}\n")
        for limit in ("cpuinfo_max_freq", "scaling_max_freq"):
            _write(core / "cpufreq" / limit, f"{KHZ}\n")
        for index, (level, kind, size) in enumerate(CACHES):
            cache = core / f"cache/index{index}"
            described = {"level": level, "type": kind, "size": size, "coherency_line_size": str(LINE_BYTES)}
            shared = "0-3" if level == "2" else str(number)
            for name, text in {**described, "shared_cpu_list": shared}.items():
                _write(cache / name, f"{text}\n")
        _write(core / "topology/physical_package_id", "0\n")
        _write(core / "topology/core_id", f"{number}\n")
        _write(core / "topology/core_siblings_list", "0-3\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@dataclass(frozen=True, slots=True)
class Check:
    """A loop whose cycles on a real Cortex-A53 were published."""

    name: str
    measured: int
    priced: float

    @property
    def error(self) -> float:
        """The fraction by which the model is wrong."""
        return self.priced / self.measured - 1


def self_check(lab: Path, plugin: Path) -> list[Check]:
    """Price the loops of ``selfcheck.c``; needs nothing but the compilers and QEMU."""
    program = lab / "selfcheck"
    compiler = "aarch64-linux-gnu-gcc"
    subprocess.run([compiler, *STRICT, "-static", "-o", program, SOURCES / "selfcheck.c"], check=True)
    counts, printed = count(plugin, lab / "selfcheck.json", [program])
    lines = [line.split("\t") for line in printed.splitlines()]
    return [
        Check(name, int(measured), each.cycles)
        for (_, name, measured), each in zip(lines, counts, strict=True)
    ]
