"""``incv3d teach add`` and ``capture``: pictures of the owner's classes, from files and from the source."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from incv3d.images.demo import demo_folder
from incv3d.teaching.picture_set import Picture, PictureSet
from incv3d.teaching.taken_at import time_in_exif
from processes import ScriptedDaemon, run_incv3d

CAT = demo_folder() / "cat.jpg"


def own(state: Path, name: str = "mine") -> list[Picture]:
    return PictureSet(state / "taught" / name / "pictures").pictures()


def width_of(image: Path) -> int:
    with Image.open(image) as opened:
        return opened.width


def test_files_become_pictures_of_a_class_once_and_are_moved_when_they_are_corrected(tmp_path: Path) -> None:
    done = run_incv3d(tmp_path, "teach", "add", "animal", str(demo_folder()), "--name", "mine")
    assert (done.returncode, done.stdout) == (0, "animal: 4 added\n")
    assert "mine has these pictures of its own: animal 4\n" in done.stderr
    done = run_incv3d(tmp_path, "teach", "add", "thing", str(demo_folder() / "coffee.jpg"))
    assert (done.returncode, done.stdout) == (0, "thing: 1 moved there\n")
    assert "next: incv3d teach --name mine\n" in done.stderr
    done = run_incv3d(tmp_path, "teach", "add", "animal", str(CAT))
    assert (done.returncode, done.stdout) == (0, "animal: 1 in it already\n")
    assert sorted((each.class_name, each.source) for each in own(tmp_path)) == [
        ("animal", "cat"), ("animal", "photographer"), ("animal", "rocket"), ("thing", "coffee"),
    ]  # fmt: skip


def test_the_time_of_a_picture_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2026:02:01 00:00:00"  # when a program changed it
    exif.get_ifd(0x8769)[0x9003] = "2026:01:31 12:00:00"
    Image.new("RGB", (8, 8)).save(tmp_path / "phone.jpg", exif=exif)
    shutil.copy(CAT, tmp_path / "20260131T110000.000Z_door.left_tabby_0.89.jpg")
    pattern = str(tmp_path / "*.jpg")
    assert run_incv3d(tmp_path, "teach", "add", "x", pattern, "--name", "mine").returncode == 0
    assert [(each.source, each.at_unix_s) for each in own(tmp_path)] == [
        ("phone", 1769860800.0), ("door.left", 1769857200.0),
    ]  # fmt: skip
    assert time_in_exif(b"\xff\xd8\xff damaged") is None and time_in_exif(CAT.read_bytes()) is None


def test_what_is_no_picture_is_left_out_with_a_line_and_the_others_are_added(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    words = ("teach", "add", "x", str(tmp_path / "notes.jpg"), str(CAT), "--name", "mine")
    done = run_incv3d(tmp_path, *words)
    assert (done.returncode, done.stdout) == (1, "x: 1 added, 1 left out\n")
    assert "incv3d: notes: not an image" in done.stderr and done.stderr.count("\n") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "x", str(CAT)), "which model? add --name NAME (there is none yet; choose one)"),
        (("add", "unknown", str(CAT), "--name", "mine"), "a class cannot be called `unknown`"),
        (("add", "x", "nowhere.jpg", "--name", "mine"), "nowhere.jpg: no such file or folder"),
        (("add", "x", str(CAT), "--name", "birds"), "`birds` is the name of a model"),
        (("add", "x", str(CAT), "--name", "No Name"), "not a valid model name"),
        (("capture", "x", "--name", "mine"), "has no source (source.path) to capture from"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = run_incv3d(tmp_path, "teach", *words, INCV3D_BIND=f"ipc://{tmp_path}/door")
    assert done.returncode in (1, 2) and message in done.stderr
    assert "Traceback" not in done.stderr and not own(tmp_path)


def configured(folder: Path, **source: object) -> str:
    settings = {
        "source": {"path": str(demo_folder()), "name": "camera", "fps": 20, **source},
        "intake": {"bind": f"ipc://{folder}/door"},
    }
    (folder / "incv3d.yaml").write_text(json.dumps(settings))
    return str(folder / "incv3d.yaml")


def captured(folder: Path, config: str, *words: str) -> subprocess.CompletedProcess[str]:
    found = ("--name", "mine", "--config", config, "--every", "0")
    return run_incv3d(folder, "teach", "capture", "empty", *found, *words)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    regions = {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 0.5, 1]}
    found = ScriptedDaemon(tmp_path, tmp_path, configured(tmp_path, regions=regions)).ready()
    yield found
    found.kill()


def test_pictures_of_a_region_come_from_the_running_daemon(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    config = str(tmp_path / "incv3d.yaml")
    done = captured(tmp_path, config, "--frames", "3", "--region", "left")
    assert (done.returncode, done.stdout) == (0, "empty: 3 captured\n"), done.stderr
    widths = {width_of(each) for each in demo_folder().glob("*.jpg")}
    for each in own(tmp_path):
        assert each.source == "camera.left" and each.at_unix_s > 1.7e9
        assert any(abs(width_of(each.path) - width / 2) <= 1 for width in widths), "only the region"
    done = captured(tmp_path, config)
    assert done.returncode == 2 and "--region must be one of left, right" in done.stderr


def test_without_a_daemon_they_come_from_the_source_itself(tmp_path: Path) -> None:
    done = captured(tmp_path, configured(tmp_path), "--frames", "4")
    assert (done.returncode, done.stdout) == (0, "empty: 4 captured\n"), done.stderr
    assert {each.path.read_bytes() for each in own(tmp_path)} == {
        each.read_bytes() for each in demo_folder().glob("*.jpg")
    }
