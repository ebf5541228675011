"""Folders: room, and permission, on real file systems."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from incv3d.config.schema import Config
from incv3d.tools.doctor.disk import check_disk
from incv3d.tools.doctor.installation import Installation
from incv3d.tools.doctor.permissions import User
from trees import only, write

ME = User("current", os.geteuid(), frozenset(os.getgroups()))
STRANGER = User("incv3d", 54_321, frozenset((54_322,)))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and chown need root")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def setup(folder: Path, by_systemd: frozenset[Path] = frozenset()) -> Installation:
    return Installation(Config(), folder / "state", folder / "logs/latency.log", by_systemd)


def test_folders_with_room_are_ok_and_nothing_is_left_in_them(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    findings = check_disk(setup(tmp_path), ME)
    assert [finding.status for finding in findings] == ["ok", "ok"]
    assert f"{tmp_path}/state: " in only(findings, "model store").what
    assert f"{tmp_path}/logs (not created yet): " in only(findings, "latency log").what
    assert [path.name for path in tmp_path.rglob("*")] == ["state"]


@as_root
def test_a_disk_that_fills_is_a_warning_and_a_full_one_a_problem(small_disk: Path) -> None:
    (small_disk / "logs").mkdir()
    findings = check_disk(setup(small_disk), ME)
    assert only(findings, "model store").status == "warning"
    assert "1 MB free, up to 300 MB needed" in only(findings, "model store").what
    assert only(findings, "latency log").status == "warning"
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        (small_disk / "filler").open("wb", 0) as filler,
    ):
        while True:
            filler.write(bytes(4096))
    findings = check_disk(setup(small_disk), ME)
    for finding in findings:
        assert finding.status == "problem" and finding.what.endswith("the disk is full"), finding
        assert finding.fix.startswith("free some space")


@as_root
def test_a_disk_without_inodes_is_full(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=500m,nr_inodes=3", str(small_disk)], check=True)
    (small_disk / "one").touch()
    (small_disk / "two").touch()
    assert only(check_disk(setup(small_disk), ME), "model store").what.endswith("the disk is full")


@as_root
def test_a_disk_that_became_read_only_is_a_problem(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    finding = only(check_disk(setup(small_disk), ME), "model store")
    assert finding.status == "problem" and "mounted read-only" in finding.what
    assert "sudo mount -o remount,rw" in finding.fix


def test_a_folder_of_another_user_is_a_problem_with_the_way_to_open_it(open_folder: Path) -> None:
    (open_folder / "state").mkdir(mode=0o755)
    findings = check_disk(setup(open_folder), STRANGER)
    store, log = only(findings, "model store"), only(findings, "latency log")
    assert (store.status, log.status) == ("problem", "problem")
    assert f"sudo chown -R incv3d {open_folder}/state" in store.fix
    assert log.fix.startswith(f"sudo install -d -o incv3d {open_folder}/logs")


def test_who_may_write_by_mode_and_group_is_believed(open_folder: Path) -> None:
    for name in ("state", "logs"):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(0o777)
    assert {finding.status for finding in check_disk(setup(open_folder), STRANGER)} == {"ok"}
    member = User("incv3d", 54_321, frozenset((os.getegid(),)))
    (open_folder / "state").chmod(0o775)
    assert only(check_disk(setup(open_folder), member), "model store").status == "ok"
    (open_folder / "state").chmod(0o757)
    assert only(check_disk(setup(open_folder), member), "model store").status == "problem"


def test_what_systemd_makes_for_the_service_is_not_asked_for(open_folder: Path) -> None:
    folders = frozenset((open_folder / "state", open_folder / "logs"))
    findings = check_disk(setup(open_folder, by_systemd=folders), STRANGER)
    assert {finding.status for finding in findings} == {"ok"}


def test_models_that_root_fetched_for_the_service_are_found(open_folder: Path) -> None:
    (open_folder / "state/models").mkdir(parents=True)
    folders = frozenset((open_folder / "state", open_folder / "logs"))
    findings = check_disk(setup(open_folder, by_systemd=folders), STRANGER)
    (problem,) = [finding for finding in findings if finding.status == "problem"]
    assert "another user may have fetched a model" in problem.what
    assert problem.fix == f"sudo chown -R incv3d {open_folder}/state"


def test_a_log_of_another_user_and_one_that_is_a_folder_are_problems(open_folder: Path) -> None:
    (open_folder / "logs").mkdir()
    (open_folder / "logs").chmod(0o777)
    log = write(open_folder / "logs/latency.log", "", 0o644)
    found = [each for each in check_disk(setup(open_folder), STRANGER) if each.what.startswith(str(log))]
    assert found[0].status == "problem" and found[0].fix == f"sudo chown incv3d {log}"
    secret = write(open_folder / "secret", "", 0o600)
    log.unlink()
    log.symlink_to(secret)
    found = [each for each in check_disk(setup(open_folder), STRANGER) if each.what.startswith(str(log))]
    assert f"is a link to {secret}" in found[0].what and "chown" not in found[0].fix
    log.unlink()
    log.mkdir()
    assert f"{log} is not a file" in [each.what for each in check_disk(setup(open_folder), ME)]


def test_a_file_in_the_way_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "state", "")
    finding = only(check_disk(setup(tmp_path), ME), "model store")
    assert finding.status == "problem" and finding.what == f"{tmp_path}/state is not a folder"


def test_the_log_needs_the_configured_space(tmp_path: Path) -> None:
    huge = msgspec.convert({"latency": {"max_bytes": 1 << 60, "keep": 3}}, Config)
    findings = check_disk(Installation(huge, tmp_path, tmp_path / "latency.log"), ME)
    assert only(findings, "latency log").status == "warning"
