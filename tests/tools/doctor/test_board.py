"""Operating system, processor, memory, voltage and heat, from a Raspberry Pi's files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from incv3d.tools.doctor import Host
from incv3d.tools.doctor.memory import check_memory
from incv3d.tools.doctor.operating_system import check_processor, check_system
from incv3d.tools.doctor.power import check_power
from trees import A53, BOOKWORM, bare, only, raspberry_pi, statuses, write


def test_a_raspberry_pi_3_with_the_current_system_is_ok(tmp_path: Path) -> None:
    machine = raspberry_pi(tmp_path)
    findings = [
        *check_system(machine),
        *check_processor(machine),
        *check_power(machine),
        *check_memory(machine),
    ]
    assert {finding.status for finding in findings} == {"ok"}, findings
    assert only(findings, "system").what == "Raspberry Pi OS on Debian GNU/Linux 12 (bookworm), 64-bit"
    assert only(findings, "board").what == "Raspberry Pi 3 Model B Rev 1.2"
    assert only(findings, "processor").what.startswith("ARMv8 Processor rev 4 (v8l), 2 cores, aarch64")
    assert only(findings, "temperature").what == "48.3 °C"


def test_a_machine_without_sensors_is_not_a_problem(tmp_path: Path) -> None:
    machine = bare(tmp_path, architecture="aarch64", bits=64, libc=("glibc", "2.36"))
    findings = [*check_system(machine), *check_processor(machine), *check_power(machine)]
    findings += check_memory(machine)
    assert not {"warning", "problem"} & {finding.status for finding in findings}, findings


def test_a_32_bit_system_on_a_64_bit_kernel_is_recognized(tmp_path: Path) -> None:
    finding = only(check_system(raspberry_pi(tmp_path, bits=32)), "system")
    assert finding.status == "problem"
    assert "32-bit (the kernel is aarch64): TensorFlow and LiteRT have no 32-bit wheels" in finding.what
    assert "Raspberry Pi OS (64-bit)" in finding.fix


@pytest.mark.parametrize("architecture", ["armv7l", "armv6l", "riscv64"])
def test_a_processor_without_wheels_is_a_problem(tmp_path: Path, architecture: str) -> None:
    finding = only(check_processor(raspberry_pi(tmp_path, architecture=architecture)), "processor")
    assert (
        finding.status == "problem"
        and finding.fix
        and f"{architecture}: TensorFlow and LiteRT have no wheels" in finding.what
    )


def test_a_processor_without_what_the_wheels_need_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = bare(tmp_path, architecture="x86_64")
    write(machine.proc / "cpuinfo", "processor\t: 0\nmodel name\t: Nehalem\nflags\t\t: sse sse4_1 sse4_2\n")
    finding = only(check_processor(machine), "processor")
    assert finding.status == "problem" and "Nehalem lacks avx: TensorFlow would crash" in finding.what
    monkeypatch.setattr("incv3d.tools.doctor.operating_system.find_spec", lambda name: None)
    assert only(check_processor(machine), "processor").status == "ok", "nothing that is installed needs it"
    write(machine.proc / "cpuinfo", "processor\t: 0\nmodel name\t: Old\nflags\t\t: sse sse4_1\n")
    assert "Old lacks sse4_2: NumPy would crash" in only(check_processor(machine), "processor").what
    write(machine.proc / "cpuinfo", "processor\t: 0\nmodel name\t: Sandy\nflags\t\t: sse4_1 sse4_2 avx\n")
    assert only(check_processor(machine), "processor").status == "ok"
    arm = raspberry_pi(tmp_path)
    write(arm.proc / "cpuinfo", A53.replace("asimd ", ""))
    assert only(check_processor(arm), "processor").status == "problem"


@pytest.mark.parametrize(
    ("release", "status"),
    [
        (BOOKWORM.replace("12", "13"), "ok"),
        (BOOKWORM.replace("12", "11"), "warning"),
        ('PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nVERSION_ID="24.04"\n', "note"),
        ("PRETTY_NAME='Debian GNU/Linux forky/sid'\nID=debian\n", "ok"),
        ("", "note"),
    ],
)
def test_tested_systems_differ_from_others(tmp_path: Path, release: str, status: str) -> None:
    machine = raspberry_pi(tmp_path)
    write(machine.etc / "os-release", release)
    assert only(check_system(machine), "system").status == status


@pytest.mark.parametrize(
    ("libc", "status"),
    [(("glibc", "2.27"), "ok"), (("glibc", "2.24"), "problem"), (("", ""), "problem")],
)
def test_the_c_library_must_suit_the_wheels(tmp_path: Path, libc: tuple[str, str], status: str) -> None:
    assert only(check_system(raspberry_pi(tmp_path, libc=libc)), "libc").status == status


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0", ["ok: no under-voltage or throttling since boot"]),
        ("1", ["problem: under-voltage now (0x1)"]),
        ("10000", ["warning: under-voltage since boot, but not now (0x10000)"]),
        ("50005", ["problem: under-voltage now (0x50005)", "warning: throttled now (0x50005)"]),
        (
            "e0008",
            [
                "note: frequency capped since boot, but not now (0xe0008)",
                "note: throttled since boot, but not now (0xe0008)",
                "warning: soft temperature limit now (0xe0008)",
            ],
        ),
    ],
)
def test_the_firmwares_bits_are_named(tmp_path: Path, bits: str, expected: list[str]) -> None:
    machine = raspberry_pi(tmp_path)
    write(machine.sysfs / "devices/platform/soc/soc:firmware/get_throttled", f"{bits}\n")
    found = [finding for finding in check_power(machine) if finding.name == "power"]
    assert [f"{finding.status}: {finding.what}" for finding in found] == expected
    assert all(finding.fix for finding in found if finding.status in ("warning", "problem"))


@pytest.mark.parametrize(
    ("millidegrees", "status"), [("79999", "ok"), ("80000", "warning"), ("85000", "problem"), ("x", "note")]
)
def test_temperature_is_judged_as_the_firmware_does(tmp_path: Path, millidegrees: str, status: str) -> None:
    machine = raspberry_pi(tmp_path)
    write(machine.sysfs / "class/thermal/thermal_zone0/temp", f"{millidegrees}\n")
    assert only(check_power(machine), "temperature").status == status


def test_a_pi_whose_kernel_hides_the_bits_is_referred_to_vcgencmd(tmp_path: Path) -> None:
    machine = raspberry_pi(tmp_path)
    (machine.sysfs / "devices/platform/soc/soc:firmware/get_throttled").unlink()
    finding = only(check_power(machine), "power")
    assert finding.status == "note" and "vcgencmd get_throttled" in finding.what


@pytest.mark.parametrize(
    ("total_kb", "swap_kb", "status"),
    [
        (936_000, 0, "warning"),
        (936_000, 102_396, "warning"),
        (936_000, 1_048_572, "ok"),
        (3_884_000, 0, "ok"),
    ],
)
def test_a_small_machine_needs_swap(tmp_path: Path, total_kb: int, swap_kb: int, status: str) -> None:
    machine = raspberry_pi(tmp_path)
    text = f"MemTotal: {total_kb} kB\nMemAvailable: 500000 kB\nSwapTotal: {swap_kb} kB\nSwapFree: 0 kB\n"
    write(machine.proc / "meminfo", text)
    finding = only(check_memory(machine), "swap")
    assert finding.status == status and bool(finding.fix) == (status == "warning")


def test_a_kernel_that_does_not_limit_memory_is_a_warning(tmp_path: Path) -> None:
    machine = raspberry_pi(tmp_path)
    write(machine.sysfs / "fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    finding = only(check_memory(machine), "memory limits")
    assert finding.status == "warning" and "cgroup_enable=memory" in finding.fix


def test_garbled_meminfo_is_a_note(tmp_path: Path) -> None:
    machine = raspberry_pi(tmp_path)
    write(machine.proc / "meminfo", "MemTotal: much\nMemAvailable:\n")
    assert statuses(check_memory(machine)) == {"memory": "note"}


def test_this_machine_reports_its_memory() -> None:
    assert re.match(r"\d+ MB, \d+ MB available", only(check_memory(Host()), "memory").what)
