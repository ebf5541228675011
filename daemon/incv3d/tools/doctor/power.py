"""What the firmware and the thermometer of the board say: voltage, throttling, heat."""

from __future__ import annotations

from incv3d.machine import SINCE_BOOT, read_machine
from incv3d.tools.doctor.findings import Finding, Status
from incv3d.tools.doctor.host import Host, read

HOT_C = 80.0
"""The firmware lowers the clock (raspberrypi.com, "Frequency management and thermal control")."""
TOO_HOT_C = 85.0
SUPPLY = "take the official power supply, and a short, thick cable; unplug what draws power from USB"
COOLING = "give it a heat sink or a fan, and air; keep it out of the sun"
BITS: tuple[tuple[str, Status, Status, str], ...] = (
    ("under-voltage", "problem", "warning", SUPPLY),
    ("the frequency is capped", "warning", "note", f"{SUPPLY}; {COOLING}"),
    ("throttled", "warning", "note", f"{SUPPLY}; {COOLING}"),
    ("the soft temperature limit is active", "warning", "note", COOLING),
)
"""Bits 0 to 3 of ``get_throttled``: in words, how bad it is now and since boot, and what to do."""


def check_power(machine: Host) -> list[Finding]:
    """The throttling bits, each in words, and the temperature."""
    readings = read_machine(machine.sysfs, machine.proc)
    return [*_power(machine, readings.throttled), _temperature(readings.temp_c)]


def _power(machine: Host, throttled: int | None) -> list[Finding]:
    if throttled is None:
        board = read(machine.proc / "device-tree/model")
        if "Raspberry Pi" in board:
            what = "the kernel does not tell what the firmware says of voltage and throttling"
            return [Finding("power", "note", f"{what} (ask it: vcgencmd get_throttled)")]
        return [Finding("power", "note", "no firmware of a Raspberry Pi to ask about voltage")]
    findings = []
    for bit, (words, now, earlier, fix) in enumerate(BITS):
        if throttled >> bit & 1:
            findings.append(Finding("power", now, f"{words} now (0x{throttled:x})", fix))
        elif throttled >> bit + SINCE_BOOT & 1:
            findings.append(Finding("power", earlier, f"{words}: since boot, not now (0x{throttled:x})", fix))
    return findings or [Finding("power", "ok", "voltage and frequency were never limited since boot")]


def _temperature(temp_c: float | None) -> Finding:
    if temp_c is None:
        return Finding("temperature", "note", "no thermometer here")
    what = f"{temp_c:.1f} °C"
    if temp_c >= TOO_HOT_C:
        return Finding("temperature", "problem", f"{what}: the processor runs at its slowest", COOLING)
    if temp_c >= HOT_C:
        return Finding("temperature", "warning", f"{what}: the processor is slowed down", COOLING)
    return Finding("temperature", "ok", what)
