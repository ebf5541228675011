"""The folder of pictures: its bounds, and what happens to its disk."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from incv3d.events.image_folder import ImageFolder

MIB = 1024 * 1024


def folder(path: Path, max_files: int = 100, max_bytes: int = MIB, min_free_bytes: int = 0) -> ImageFolder:
    made = ImageFolder(path, max_files, max_bytes, min_free_bytes)
    made.open()
    return made


def name(number: int) -> str:
    return f"20260131T120000.{number:03d}Z_camera_tench_0.89"


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_a_image_is_written_with_what_is_beside_it(tmp_path) -> None:
    pictures = folder(tmp_path / "a" / "b")
    written = pictures.keep(name(1), ".png", b"pixels", b"{}")
    assert written == tmp_path / "a" / "b" / f"{name(1)}.png" and written.read_bytes() == b"pixels"
    assert names(tmp_path / "a" / "b") == [f"{name(1)}.json", f"{name(1)}.png"]
    assert (len(pictures), pictures.size_bytes) == (1, 8)


def test_the_oldest_are_removed_when_there_are_too_many(tmp_path) -> None:
    pictures = folder(tmp_path, max_files=3)
    for number in range(10):
        pictures.keep(name(number), ".png", b"x", b"{}")
        assert len(pictures) <= 3
    assert names(tmp_path) == [f"{name(n)}.{suffix}" for n in (7, 8, 9) for suffix in ("json", "png")]


def test_the_oldest_are_removed_when_they_are_too_large(tmp_path) -> None:
    pictures = folder(tmp_path, max_bytes=100)
    for number in range(10):
        pictures.keep(name(number), ".jpg", b"x" * 30)
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) == pictures.size_bytes <= 100
    pictures.keep(name(10), ".jpg", b"x" * 90)
    assert names(tmp_path) == [f"{name(10)}.jpg"]


def test_a_image_larger_than_all_may_be_is_refused_and_nothing_removed_for_it(tmp_path) -> None:
    pictures = folder(tmp_path, max_bytes=100)
    pictures.keep(name(1), ".jpg", b"x" * 30)
    with pytest.raises(OSError, match="an image of 101 bytes exceeds the limit of 100"):
        pictures.keep(name(2), ".jpg", b"x" * 101)
    assert names(tmp_path) == [f"{name(1)}.jpg"]


def test_what_was_there_before_counts_and_what_others_put_there_does_not(tmp_path) -> None:
    first = folder(tmp_path)
    for number in range(3):
        first.keep(name(number), ".bmp", b"x" * 10, b"{}")
    for other in ("holiday.jpg", "20260131T120000.jpg", f"{name(0)}.txt", f"x{name(0)}.jpg", ".hidden"):
        (tmp_path / other).write_bytes(b"y" * 500)
    (tmp_path / f"{name(5)}.jpg").mkdir()
    (tmp_path / f"{name(6)}.jpg").symlink_to("holiday.jpg")
    (tmp_path / f".{name(7)}.jpg.part").write_bytes(b"half a pic")  # a power cut
    second = folder(tmp_path, max_files=1)
    assert (len(second), second.size_bytes) == (3, 36)
    second.keep(name(9), ".jpg", b"x")
    left = {"holiday.jpg", "20260131T120000.jpg", f"{name(0)}.txt", f"x{name(0)}.jpg", ".hidden"}
    left |= {f"{name(5)}.jpg", f"{name(6)}.jpg", f"{name(9)}.jpg"}
    assert set(names(tmp_path)) == left


def test_two_images_of_one_name_are_both_kept_and_counted(tmp_path) -> None:
    pictures = folder(tmp_path)
    for content in (b"first", b"second", b"third"):
        pictures.keep(name(1), ".jpg", content)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"second", b"third", b"first"]
    assert len(folder(tmp_path)) == 3


def test_a_clock_that_jumps_back_does_not_make_the_newest_the_oldest(tmp_path) -> None:
    pictures = folder(tmp_path, max_files=2)
    for number in (500, 600, 1, 2):
        pictures.keep(name(number), ".jpg", b"x")
    assert names(tmp_path) == [f"{name(1)}.jpg", f"{name(2)}.jpg"]


def test_images_that_somebody_took_away_make_room(tmp_path) -> None:
    pictures = folder(tmp_path, max_files=4)
    for number in range(4):
        pictures.keep(name(number), ".jpg", b"x")
    for number in (0, 2):
        (tmp_path / f"{name(number)}.jpg").unlink()
    for number in (4, 5):
        pictures.keep(name(number), ".jpg", b"x")
    assert names(tmp_path) == [f"{name(number)}.jpg" for number in (1, 3, 4, 5)]
    assert (len(pictures), pictures.size_bytes) == (4, 4)


def test_a_folder_that_was_removed_is_made_anew(tmp_path) -> None:
    pictures = folder(tmp_path / "pictures", max_files=2)
    for number in range(2):
        pictures.keep(name(number), ".jpg", b"x")
    (tmp_path / "pictures").rename(tmp_path / "moved")
    for number in range(2, 5):
        pictures.keep(name(number), ".jpg", b"x")
    assert names(tmp_path / "pictures") == [f"{name(3)}.jpg", f"{name(4)}.jpg"]
    assert names(tmp_path / "moved") == [f"{name(0)}.jpg", f"{name(1)}.jpg"]


def test_room_is_left_for_others(tmp_path) -> None:
    pictures = folder(tmp_path, min_free_bytes=1 << 60)
    with pytest.raises(OSError, match=r"the disk is too full: .*, 1 needed for the file, 1152") as caught:
        pictures.keep(name(1), ".jpg", b"x")
    assert caught.value.errno == errno.ENOSPC and names(tmp_path) == []


def test_a_folder_without_permission_is_known_from_the_start(tmp_path) -> None:
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # root may write everywhere
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            folder(tmp_path)
    finally:
        os.seteuid(user)
    tmp_path.chmod(0o700)


def test_a_full_disk_keeps_what_is_there_and_nothing_half_written(small_disk) -> None:
    pictures = folder(small_disk / "pictures", max_bytes=100 * MIB)
    kept = 0
    with pytest.raises(OSError, match=r"No space left|too full") as caught:
        for number in range(100):
            pictures.keep(name(number), ".png", os.urandom(100_000), b"{}")
            kept += 1
    assert caught.value.errno == errno.ENOSPC
    assert len(pictures) == kept >= 5
    assert names(small_disk / "pictures") == [
        f"{name(number)}.{suffix}" for number in range(kept) for suffix in ("json", "png")
    ]
    assert all(path.stat().st_size in (2, 100_000) for path in (small_disk / "pictures").iterdir())
    (small_disk / "pictures" / f"{name(0)}.png").unlink()
    pictures.keep(name(200), ".png", os.urandom(50_000))


def test_what_fills_up_while_it_is_written_is_taken_back(small_disk) -> None:
    # Below the size of a block statvfs still says that there is room.
    pictures = folder(small_disk, max_bytes=100 * MIB)
    stuffing = small_disk / "stuffing"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    stuffing.write_bytes(bytes(free - 8192))
    with pytest.raises(OSError, match="No space left"):
        pictures.keep(name(1), ".png", bytes(8000), b"{}" * 50)
    assert names(small_disk) == ["stuffing"] and len(pictures) == 0


def test_a_disk_that_turns_read_only_is_an_error_with_its_reason(small_disk) -> None:
    pictures = folder(small_disk)
    pictures.keep(name(1), ".jpg", b"x")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        pictures.keep(name(2), ".jpg", b"x")
    with pytest.raises(OSError, match="Read-only file system"):
        pictures.open()
