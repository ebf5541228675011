"""The clock, with what timedatectl really says in place of timedatectl."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from incv3d.tools.doctor.clock import check_clock
from trees import bare, booted, program

SAID = "Timezone=Etc/UTC\nLocalRTC=no\nCanNTP=yes\nNTP={ntp}\nNTPSynchronized={synchronized}\n"


@pytest.mark.parametrize(
    ("ntp", "synchronized", "status", "words"),
    [
        ("yes", "yes", "ok", "UTC, synchronized"),
        ("no", "no", "warning", "synchronization is off"),
        ("yes", "no", "warning", "not synchronized (yet)"),
    ],
)
def test_it_is_synchronized_or_not(
    tmp_path: Path, ntp: str, synchronized: str, status: str, words: str
) -> None:
    machine = booted(bare(tmp_path))
    program(machine, "timedatectl", f"echo '{SAID.format(ntp=ntp, synchronized=synchronized)}'")
    (finding,) = check_clock(machine)
    assert finding.status == status and words in finding.what
    assert bool(finding.fix) == (status == "warning")


def test_a_missing_real_time_clock_is_reported(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    assert "no real-time clock" in check_clock(machine)[0].what
    (machine.dev / "rtc0").touch()
    assert "no real-time clock" not in check_clock(machine)[0].what


def test_a_clock_from_before_the_installation_is_a_problem(tmp_path: Path) -> None:
    (finding,) = check_clock(bare(tmp_path), now=0.0)
    assert finding.status == "problem" and "1970-01-01" in finding.what and finding.fix


@pytest.mark.parametrize(
    "script", ["echo 'Failed to connect to bus: Host is down' >&2; exit 1", "echo nonsense"]
)
def test_a_failing_timedatectl_is_a_note_with_its_message(tmp_path: Path, script: str) -> None:
    machine = booted(bare(tmp_path))
    program(machine, "timedatectl", script)
    (finding,) = check_clock(machine)
    assert finding.status == "note"
    assert ("Host is down" in finding.what) == ("Host" in script)


def test_a_timedatectl_that_hangs_does_not_block_other_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incv3d.tools.doctor.clock.LIMIT_S", 0.3)
    machine = booted(bare(tmp_path))
    program(machine, "timedatectl", "/bin/sleep 60 & /bin/sleep 60")
    started = time.monotonic()
    assert check_clock(machine)[0].status == "note"
    assert time.monotonic() - started < 10
