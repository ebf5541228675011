"""Cameras: nodes and who may open them, on real files; what is found, really asked for or as a Pi says it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from incv3d.config.source import SourceSection
from incv3d.tools.doctor import Finding, Host
from incv3d.tools.doctor.cameras import check_cameras
from incv3d.tools.doctor.permissions import User, find_user
from trees import bare, only, write

VIDEO = 44
ROOT = User("root", 0, frozenset((0,)))
IMX219 = {"type": "picamera2", "name": "imx219", "path": "0", "formats": {}, "configuration": ""}
USB = {"type": "v4l2", "name": "HD Webcam", "path": "/dev/video0", "formats": {}, "configuration": ""}
MISSING = (
    "picamera2: the Python library picamera2 is missing; to install it: sudo apt-get install "
    "python3-picamera2 (and a venv made with --system-site-packages)"
)
CLASH = (
    "picamera2: the Python library picamera2 cannot be loaded: numpy.dtype size changed (Debian's packages "
    "need NumPy 1: /opt/incv3d/bin/python -m pip install 'numpy<2'); to install it: sudo apt-get install "
    "python3-picamera2 (and a venv made with --system-site-packages)"
)


@pytest.fixture
def machine() -> Iterator[Host]:
    """A machine whose folders everybody may enter, with a camera's nodes."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    made = bare(folder)
    for node in ("video0", "media0", "dma_heap/linux,cma"):
        path = write(made.dev / node, "", 0o660)
        if os.geteuid() == 0:
            os.chown(path, 0, VIDEO)
    write(made.sysfs / "class/video4linux/video0/name", "unicam-image\n")
    write(made.etc / "group", "root:x:0:\nvideo:x:44:pi,incv3d\n")
    write(made.etc / "passwd", "root:x:0:0::/root:/bin/sh\nincv3d:x:990:990::/nonexistent:/bin/false\n")
    yield made
    shutil.rmtree(folder)


def saying(machine: Host, cameras: list[dict[str, object]], notes: list[str]) -> Host:
    """The machine, with a Python that lists these cameras."""
    answer = json.dumps({"cameras": cameras, "notes": notes})
    script = write(machine.dev.parent / "python", f"#!/bin/sh\n/bin/cat <<'END'\n{answer}\nEND\n", 0o755)
    return replace(machine, python=script)


def source(**keys: object) -> SourceSection:
    return SourceSection(**keys)


def look(machine: Host, section: SourceSection, service_user: User | None = None) -> list[Finding]:
    sources = {} if section.type == "none" else {"source": section}
    return check_cameras(machine, sources, ROOT, service_user)


def test_a_configured_camera_that_exists_is_ok(machine: Host) -> None:
    findings = look(saying(machine, [IMX219], []), source(type="picamera2"))
    assert {finding.status for finding in findings} == {"ok"}, findings
    assert "video0 unicam-image" in only(findings, "camera nodes").what
    assert "picamera2: imx219" in only(findings, "cameras").what


@pytest.mark.parametrize(
    ("section", "found", "status"),
    [
        ({"type": "picamera2"}, [], "problem"),
        ({"type": "picamera2"}, [USB], "problem"),
        ({"type": "picamera2", "camera": 1}, [IMX219], "problem"),
        ({"type": "auto"}, [], "problem"),
        ({"type": "auto"}, [USB], "ok"),
        ({"type": "v4l2"}, [USB], "ok"),
        ({"type": "none"}, [], "note"),
        ({"type": "none"}, [USB], "ok"),
    ],
)
def test_what_is_found_is_held_against_what_is_configured(
    machine: Host, section: dict[str, object], found: list[dict[str, object]], status: str
) -> None:
    finding = only(look(saying(machine, found, []), source(**section)), "cameras")
    assert finding.status == status and bool(finding.fix) == (status == "problem")


def test_a_device_that_is_named_must_be_one(machine: Host) -> None:
    for path, status in (
        (machine.dev / "video7", "problem"),
        (machine.dev / "video0", "problem"),
        ("/dev/null", "ok"),
    ):
        finding = only(look(saying(machine, [], []), source(type="v4l2", path=str(path))), "cameras")
        assert finding.status == status and str(path) in finding.what


@pytest.mark.parametrize(
    ("kind", "note", "status", "fix"),
    [
        ("picamera2", MISSING, "problem", "sudo apt-get install python3-picamera2"),
        ("picamera2", CLASH, "problem", "sudo apt-get install python3-picamera2"),
        ("none", MISSING, "note", "sudo apt-get install python3-picamera2"),
    ],
)
def test_a_library_that_is_missing_matters_when_it_is_needed(
    machine: Host, kind: str, note: str, status: str, fix: str
) -> None:
    finding = only(look(saying(machine, [], [note]), source(type=kind)), "camera library")
    assert finding.status == status and finding.fix.startswith(fix)
    assert "numpy<2" in finding.what or note is not CLASH


def test_no_node_is_a_note_and_a_warning_when_one_is_wanted(tmp_path: Path) -> None:
    machine = saying(bare(tmp_path), [], [])
    assert only(look(machine, source(type="none")), "camera nodes").status == "note"
    assert only(look(machine, source(type="v4l2")), "camera nodes").status == "warning"


def test_a_user_outside_the_group_is_named_with_the_group_to_join(machine: Host) -> None:
    stranger = User("incv3d", 990, frozenset((990,)))
    findings = look(saying(machine, [IMX219], []), source(type="picamera2"), stranger)
    problem = next(each for each in findings if each.status == "problem")
    assert problem.what.startswith(f"incv3d cannot open {machine.dev}/video0, {machine.dev}/media0")
    gid = (machine.dev / "video0").stat().st_gid
    assert problem.fix.startswith(f"sudo usermod -aG {'video' if gid == VIDEO else gid} incv3d")
    assert any(each.what == "root can open them" for each in findings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to groups")
def test_nobody_is_told_to_join_the_group_root(machine: Host) -> None:
    """Debian on a PC has such a heap, which nothing there needs."""
    heap = write(machine.dev / "dma_heap/system", "", 0o600)
    service = User("incv3d", 990, frozenset((990, VIDEO)))
    usb = look(saying(machine, [USB], []), source(type="v4l2"), service)
    assert [each.what for each in usb if each.name == "camera permission"][1] == "incv3d can open them"
    found = look(saying(machine, [USB], []), source(type="auto"), service)
    forbidden = next(each for each in found if str(heap) in each.what)
    assert forbidden.status == "warning" and "usermod" not in forbidden.fix


def test_a_members_groups_and_the_units_count(machine: Host) -> None:
    user = find_user(machine, "incv3d")
    assert user == User("incv3d", 990, frozenset((990, 44)))
    write(machine.etc / "group", "root:x:0:\nvideo:x:44:\nrender:x:106:\n")
    user = find_user(machine, "incv3d", ["video", "render"])
    assert user and user.gids == {990, 44, 106}
    assert find_user(machine, "nobody-here") is None
    member = User("incv3d", 990, frozenset(((machine.dev / "video0").stat().st_gid,)))
    findings = look(saying(machine, [IMX219], []), source(type="picamera2"), member)
    assert any(each.what == "incv3d can open them" for each in findings)


def test_a_camera_that_hangs_does_not_block_other_checks(
    machine: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incv3d.tools.doctor.cameras.LIMIT_S", 0.3)
    script = write(machine.dev.parent / "python", "#!/bin/sh\n/bin/sleep 60\n", 0o755)
    finding = only(look(replace(machine, python=script), source(type="none")), "cameras")
    assert finding.status == "problem" and "hangs" in finding.what


def test_this_machine_is_checked(tmp_path: Path) -> None:
    findings = look(bare(tmp_path), source(type="none"))
    assert only(findings, "cameras").status in ("ok", "note"), findings


def test_a_missing_folder_is_a_problem(machine: Host) -> None:
    for path, status in ((machine.dev / "gone", "problem"), (machine.dev, "note")):
        finding = only(look(saying(machine, [], []), source(type="images", path=str(path))), "cameras")
        assert finding.status == status and ("no such file" in finding.what) == (status == "problem")
