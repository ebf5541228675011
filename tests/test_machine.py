"""Readings of the machine, from trees that look like sysfs and procfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.machine import (
    TEMPERATURE,
    THROTTLED,
    ProcessMemory,
    Readings,
    SystemMemory,
    available_memory_mb,
    memory_limit_mb,
    private_memory_mb,
    process_memory,
    processor_ticks,
    read_machine,
    system_memory,
)
from trees import write


def test_a_pi_tells_temperature_throttling_and_memory(tmp_path) -> None:
    for path, text in (
        (tmp_path / TEMPERATURE, "48312\n"),
        (tmp_path / THROTTLED, "50005\n"),
        (tmp_path / "self/status", "Name:\tx\nVmRSS:\t  441344 kB\n"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert read_machine(tmp_path, tmp_path) == Readings(48.312, 0x50005, 431.0)


@pytest.mark.parametrize("text", [None, "", "hot\n", "\xff"])
def test_what_is_missing_or_garbled_is_none(tmp_path, text) -> None:
    if text is not None:
        (tmp_path / TEMPERATURE).parent.mkdir(parents=True)
        (tmp_path / TEMPERATURE).write_text(text, "latin-1")
    assert read_machine(tmp_path, tmp_path) == Readings(None, None, None)


def test_this_machine_reports_its_memory() -> None:
    readings = read_machine()
    assert readings.rss_mb and readings.rss_mb > 1


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_private_memory_is_what_no_file_holds_swapped_out_or_not(tmp_path: Path) -> None:
    status = "RssAnon:\t  102400 kB\nRssFile:\t  307200 kB\nVmSwap:\t   20480 kB\n"
    assert private_memory_mb(tree(tmp_path, {"self/status": status})) == 120
    assert private_memory_mb(tmp_path / "nothing") is None
    assert (private_memory_mb() or 0) > 1, "this machine does not tell"


def test_memory_is_what_the_kernel_says_and_swap_counts_as_available(tmp_path: Path) -> None:
    meminfo = "MemTotal: 944128 kB\nMemAvailable:   614400 kB\nSwapTotal: 204800 kB\nSwapFree: 102400 kB\n"
    proc = tree(tmp_path, {"meminfo": meminfo, "17/status": "VmHWM:\t  2048 kB\nRssAnon:\t  1024 kB\n"})
    assert system_memory(proc) == SystemMemory(total_mb=922, available_mb=600, swap_mb=200)
    assert available_memory_mb(proc) == 700
    assert process_memory(17, proc) == ProcessMemory(peak_mb=2, anonymous_mb=1)
    for nothing in (
        system_memory(tmp_path / "no"),
        available_memory_mb(tmp_path / "no"),
        process_memory(18, proc),
    ):
        assert nothing is None


@pytest.mark.parametrize(
    ("cgroup", "limits", "limit_mb"),
    [
        ("0::/system.slice/incv3d.service\n", {"system.slice/incv3d.service/memory.high": "max"}, 914),
        ("0::/system.slice/incv3d.service\n", {"system.slice/incv3d.service/memory.max": "104857600"}, 100),
        ("0::/a/b\n", {"a/memory.max": "52428800", "a/b/memory.high": "104857600"}, 50),
        ("4:memory:/a\n0::/a\n", {"memory/a/memory.limit_in_bytes": "104857600"}, 100),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, 914),
        ("", {}, 914),
    ],
)
def test_what_a_process_may_have_is_the_least_of_machine_and_control_groups(
    tmp_path: Path, cgroup: str, limits: dict[str, str], limit_mb: float
) -> None:
    proc = tree(tmp_path / "proc", {"self/cgroup": cgroup, "meminfo": "MemTotal:  935936 kB\n"})
    assert memory_limit_mb(proc, tree(tmp_path / "cgroups", limits)) == limit_mb


def test_what_it_may_have_is_none_where_nothing_tells(tmp_path: Path) -> None:
    assert memory_limit_mb(tmp_path, tmp_path) is None


def test_the_processor_time_of_a_process_includes_that_of_its_descendants(tmp_path: Path) -> None:
    stats = {
        7: "7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0",
        8: "8 (child) R 7 7 7 0 -1 0 0 0 0 0 10 0 0 0 20 0",
        9: "9 (grandchild) R 8 7 7 0 -1 0 0 0 0 0 100 0 0 0 20 0",
        10: "10 (other) R 1 7 7 0 -1 0 0 0 0 0 1000 0 0 0 20 0",
    }
    for pid, stat in stats.items():
        write(tmp_path / str(pid) / "stat", stat)
    (tmp_path / "self").mkdir()
    assert processor_ticks(7, tmp_path) == 120
    assert processor_ticks(11, tmp_path) == 0
