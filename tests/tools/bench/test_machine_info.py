"""The machine in words, from what a Raspberry Pi's files say."""

from __future__ import annotations

from pathlib import Path

from incv3d.tools.bench.machine_info import describe_machine


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_raspberry_pi_is_named_with_its_clock_and_heat(tmp_path: Path) -> None:
    proc, sys_root = tmp_path / "proc", tmp_path / "sys"
    write(proc / "device-tree/model", "Raspberry Pi 3 Model B Rev 1.2\0")
    write(proc / "cpuinfo", "processor\t: 0\nmodel name\t: ARMv8 Cortex-A53\n")
    write(proc / "meminfo", "MemTotal:         944000 kB\n")
    cpufreq = sys_root / "devices/system/cpu/cpu0/cpufreq"
    write(cpufreq / "scaling_governor", "ondemand\n")
    write(cpufreq / "scaling_cur_freq", "600000\n")
    write(cpufreq / "cpuinfo_max_freq", "1200000\n")
    write(sys_root / "class/thermal/thermal_zone0/temp", "61200\n")
    write(sys_root / "devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    write(proc / "driver/nvidia/gpus/0/information", "Model: \t\t NVIDIA Titan X\nIRQ: 3\n")
    lines = describe_machine(sys_root, proc).lines()
    assert lines[0].startswith("Raspberry Pi 3 Model B Rev 1.2, ARMv8 Cortex-A53, ")
    assert lines[0].endswith("921 MB")
    assert lines[1] == "600 MHz of 1200 governor ondemand, 61.2 °C, throttled 0x50005"
    assert lines[2] == "GPU: NVIDIA Titan X"


def test_a_machine_without_sensors_is_described(tmp_path: Path) -> None:
    found = describe_machine(tmp_path, tmp_path)
    assert found.board is None and found.temp_c is None and found.gpus == ()
    assert found.processor and found.cores >= 1
    assert len(found.lines()) == 2
