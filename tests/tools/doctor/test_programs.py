"""Other programs, with a limit to their time."""

from __future__ import annotations

import time
from pathlib import Path

from incv3d.tools.doctor.programs import run_program
from trees import bare, program
from waiting import until


def test_what_it_says_and_its_status_come_back(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    program(machine, "speak", 'echo "$LC_ALL $1"; echo first >&2; echo last >&2; exit 3')
    child = run_program(machine, ["speak", "there"], 10)
    assert (child.status, child.out, child.last_error) == (3, "C.UTF-8 there\n", "last")


def test_a_missing_program_differs_from_one_that_fails(tmp_path: Path) -> None:
    child = run_program(bare(tmp_path), ["systemctl"], 10)
    assert child.status is None and not child.found


def test_its_grandchildren_die_with_it_and_are_not_waited_for(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    program(machine, "hang", "/bin/sleep 300 & echo $!; wait")
    started = time.monotonic()
    child = run_program(machine, ["hang"], 0.5)
    assert child.status is None and child.found
    assert time.monotonic() - started < 10
    until(lambda: is_gone(int(child.out)), "the grandchild has been killed")


def is_gone(pid: int) -> bool:
    """Return whether the process has ended; it is a zombie until its parent has noticed."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def test_very_long_output_is_cut(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    program(machine, "flood", "/usr/bin/head -c 3000000 /dev/zero")
    assert len(run_program(machine, ["flood"], 30).out) == 1 << 20


def test_it_needs_no_disk(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    program(machine, "where", "/bin/readlink /proc/$$/fd/1")
    assert run_program(machine, ["where"], 10).out.startswith("/memfd:")
