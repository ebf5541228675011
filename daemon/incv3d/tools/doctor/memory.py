"""Check memory, swap, and whether systemd can limit a service's memory."""

from __future__ import annotations

from incv3d.machine import SystemMemory, read_text, system_memory
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host

PLENTY_MB = 2048
"""Enough for TensorFlow's Python package and a desktop."""
SWAP_MB = 512
ADD_SWAP = (
    "needed only to prepare models for TensorFlow: do that on a larger machine (incv3d model export), or "
    "sudo fallocate -l 1G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
    "sudo swapon /swapfile"
)
CMDLINE = (
    "append cgroup_enable=memory to the line in /boot/firmware/cmdline.txt (/boot/cmdline.txt on older "
    "systems) and reboot"
)


def check_memory(machine: Host) -> list[Finding]:
    """Report memory, swap, and whether systemd can limit a service's memory."""
    memory = system_memory(machine.proc)
    if memory is None or memory.available_mb is None:
        return [Finding("memory", "note", f"unknown: cannot read {machine.proc}/meminfo")]
    return [
        Finding("memory", "ok", f"{memory.total_mb:.0f} MB, {memory.available_mb:.0f} MB available"),
        _swap(memory),
        *_limits(machine),
    ]


def _swap(memory: SystemMemory) -> Finding:
    what = f"{memory.swap_mb:.0f} MB" if memory.swap_mb else "none"
    if memory.total_mb >= PLENTY_MB or memory.swap_mb >= SWAP_MB:
        return Finding("swap", "ok", what)
    return Finding("swap", "warning", f"{what}, on a machine with {memory.total_mb:.0f} MB", ADD_SWAP)


def _limits(machine: Host) -> list[Finding]:
    """Report whether the kernel limits memory; Raspberry Pi OS boots with ``cgroup_disable=memory``."""
    controllers = read_text(machine.sysfs / "fs/cgroup/cgroup.controllers").split()
    if not controllers:
        return []
    if "memory" in controllers:
        return [Finding("memory limits", "ok", "the kernel enforces MemoryMax")]
    what = "the kernel does not count a service's memory: MemoryMax in the unit has no effect"
    return [Finding("memory limits", "warning", what, CMDLINE)]
