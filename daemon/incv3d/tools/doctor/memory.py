"""How much memory there is, and what guards it."""

from __future__ import annotations

from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host, fields, read

PLENTY_MB = 2048
"""From here on TensorFlow's Python package fits beside a desktop."""
SWAP_MB = 512
ADD_SWAP = (
    "only preparing and converting models needs it: let a larger machine do that (incv3d model export), or "
    "sudo fallocate -l 1G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
    "sudo swapon /swapfile"
)
CMDLINE = (
    "append cgroup_enable=memory to the line in /boot/firmware/cmdline.txt (older systems: "
    "/boot/cmdline.txt), and reboot"
)


def check_memory(machine: Host) -> list[Finding]:
    """Memory, swap, and whether systemd can limit what a service takes."""
    facts = fields(read(machine.proc / "meminfo"), ":")
    try:
        total_mb, free_mb, swap_mb = (
            int(facts[key].split()[0]) // 1024 for key in ("MemTotal", "MemAvailable", "SwapTotal")
        )
    except (KeyError, IndexError, ValueError):
        return [Finding("memory", "note", f"{machine.proc}/meminfo does not tell it")]
    return [
        Finding("memory", "ok", f"{total_mb} MB, {free_mb} MB of it can be had"),
        _swap(total_mb, swap_mb),
        *_limits(machine),
    ]


def _swap(total_mb: int, swap_mb: int) -> Finding:
    what = f"{swap_mb} MB" if swap_mb else "none"
    if total_mb >= PLENTY_MB or swap_mb >= SWAP_MB:
        return Finding("swap", "ok", what)
    return Finding("swap", "warning", f"{what}, on a machine of {total_mb} MB", ADD_SWAP)


def _limits(machine: Host) -> list[Finding]:
    """Raspberry Pi OS starts its kernel with ``cgroup_disable=memory``."""
    controllers = read(machine.sysfs / "fs/cgroup/cgroup.controllers").split()
    if not controllers:
        return []
    if "memory" in controllers:
        return [Finding("memory limits", "ok", "the kernel can hold a service to MemoryMax")]
    what = "the kernel does not account for memory: MemoryMax in the unit does nothing"
    return [Finding("memory limits", "warning", what, CMDLINE)]
