"""All checks together: none holds up or takes down another."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from incv3d.tools.doctor import Finding, run_all_checks
from incv3d.tools.doctor.run_checks import run_checks
from trees import bare, only, program, raspberry_pi, write


def test_a_check_that_raises_is_a_finding_with_the_error() -> None:
    def fails() -> list[Finding]:
        raise ZeroDivisionError("what\n was that")

    good = Finding("good", "ok", "fine")
    found = list(run_checks({"bad": fails, "good": lambda: [good]}, 10))
    assert found[1] == good
    assert (found[0].name, found[0].status) == ("bad", "warning")
    assert found[0].what == "could not be checked: ZeroDivisionError: what was that" and found[0].fix


def test_a_check_that_hangs_is_abandoned() -> None:
    release = threading.Event()

    def hangs() -> list[Finding]:
        release.wait(60)
        return []

    good = Finding("good", "ok", "fine")
    started = time.monotonic()
    found = list(run_checks({"slow": hangs, "good": lambda: [good]}, 0.2))
    release.set()
    assert time.monotonic() - started < 10
    assert found[0].status == "warning" and "within 0.2 s" in found[0].what and found[1] == good


def test_what_a_user_may_not_see_is_a_note() -> None:
    def forbidden() -> list[Finding]:
        raise PermissionError(13, "Permission denied", "/var/lib/private")

    (found,) = run_checks({"disk": forbidden}, 10)
    assert found.status == "note" and "/var/lib/private" in found.what and "sudo" in found.fix


def test_every_check_reports_always_in_the_same_order(tmp_path: Path) -> None:
    findings = list(run_all_checks(raspberry_pi(tmp_path), None))
    names = list(dict.fromkeys(finding.name for finding in findings))
    assert names == [
        "system", "libc", "board", "processor", "power", "temperature", "memory", "swap", "memory limits",
        "clock", "python", "libraries", "numpy ABI", "tensorflow", "int8", "configuration", "access", "model",
        "model store", "latency log", "camera nodes", "cameras", "camera library", "intake.bind",
        "intake.publish", "service",
    ]  # fmt: skip
    for finding in findings:
        assert finding.what and (finding.fix or finding.status in ("ok", "note")), finding


def test_a_bad_configuration_is_a_problem_and_the_rest_is_still_checked(tmp_path: Path) -> None:
    config = write(tmp_path / "incv3d.yaml", "intake:\n  queue_limit: 0\n")
    findings = list(run_all_checks(raspberry_pi(tmp_path), str(config)))
    finding = only(findings, "configuration")
    assert finding.status == "problem" and f"{config}:2: intake.queue_limit" in finding.what
    assert only(findings, "model store").status == "ok"
    missing = only(list(run_all_checks(bare(tmp_path), str(tmp_path / "none.yaml"))), "configuration")
    assert missing.status == "problem" and "no such file" in missing.what


def test_what_overrides_the_configuration_is_named(tmp_path: Path) -> None:
    machine = raspberry_pi(tmp_path)
    environ = {**machine.environ, "INCV3D_THREADS": "2"}
    config = write(tmp_path / "incv3d.yaml", "")
    changed = type(machine)(proc=machine.proc, sysfs=machine.sysfs, environ=environ)
    finding = only(list(run_all_checks(changed, str(config))), "configuration")
    assert finding.what == f"{config}, overridden by $INCV3D_THREADS"


@pytest.mark.parametrize("mode", [0o640, 0o644])
def test_a_configuration_that_the_services_user_cannot_read_is_a_problem(tmp_path: Path, mode: int) -> None:
    machine = raspberry_pi(tmp_path)
    (machine.run / "systemd/system").mkdir(parents=True)
    write(machine.etc / "passwd", "root:x:0:0::/:/bin/sh\nincv3d:x:54321:54322::/:/bin/false\n")
    program(machine, "systemctl", "echo LoadState=loaded; echo ActiveState=active; echo User=incv3d")
    config = write(tmp_path / "incv3d.yaml", "", mode)
    # pytest's own folders are closed to others, whatever the file's mode.
    found = [finding for finding in run_all_checks(machine, str(config)) if finding.name == "configuration"]
    assert [finding.status for finding in found] == ["ok", "problem"]
    assert "incv3d cannot read it" in found[1].what
