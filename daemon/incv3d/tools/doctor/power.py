"""Check voltage, throttling and temperature, as the board's firmware reports them."""

from __future__ import annotations

from incv3d.machine import SINCE_BOOT, board_name, read_machine
from incv3d.tools.doctor.findings import Finding, Status
from incv3d.tools.doctor.host import Host

HOT_C = 80.0
"""Above this the firmware lowers the clock (raspberrypi.com, "Frequency management and thermal control")."""
TOO_HOT_C = 85.0
SUPPLY = "use the official power supply and a short, thick cable; unplug USB devices that draw power"
COOLING = "add a heat sink or a fan, improve the airflow, and keep it out of the sun"
BITS: tuple[tuple[str, Status, Status, str], ...] = (
    ("under-voltage", "problem", "warning", SUPPLY),
    ("frequency capped", "warning", "note", f"{SUPPLY}; {COOLING}"),
    ("throttled", "warning", "note", f"{SUPPLY}; {COOLING}"),
    ("soft temperature limit", "warning", "note", COOLING),
)
"""Bits 0 to 3 of ``get_throttled``: name, status if set now or since boot, and what to do."""


def check_power(machine: Host) -> list[Finding]:
    """Report each throttling bit that is set, and the temperature."""
    readings = read_machine(machine.sysfs, machine.proc)
    return [*_power(machine, readings.throttled), _temperature(readings.temp_c)]


def _power(machine: Host, throttled: int | None) -> list[Finding]:
    if throttled is None:
        if "Raspberry Pi" in board_name(machine.proc):
            what = "the kernel does not report the firmware's voltage and throttling state"
            return [Finding("power", "note", f"{what} (try: vcgencmd get_throttled)")]
        return [Finding("power", "note", "not a Raspberry Pi: its voltage is unknown")]
    findings = []
    for bit, (words, now, earlier, fix) in enumerate(BITS):
        if throttled >> bit & 1:
            findings.append(Finding("power", now, f"{words} now (0x{throttled:x})", fix))
        elif throttled >> bit + SINCE_BOOT & 1:
            findings.append(
                Finding("power", earlier, f"{words} since boot, but not now (0x{throttled:x})", fix)
            )
    return findings or [Finding("power", "ok", "no under-voltage or throttling since boot")]


def _temperature(temp_c: float | None) -> Finding:
    if temp_c is None:
        return Finding("temperature", "note", "no temperature sensor")
    what = f"{temp_c:.1f} °C"
    if temp_c >= TOO_HOT_C:
        return Finding(
            "temperature", "problem", f"{what}: the processor runs at its lowest frequency", COOLING
        )
    if temp_c >= HOT_C:
        return Finding("temperature", "warning", f"{what}: the processor is slowed down", COOLING)
    return Finding("temperature", "ok", what)
