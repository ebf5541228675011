"""The pictures of a teaching set: added, moved, deleted and taken back; bounded; whole after any accident."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from incv3d.teaching import changes
from incv3d.teaching.errors import TeachingError
from incv3d.teaching.picture_set import PictureSet

JPEG = b"\xff\xd8\xff"
NOON = 1769860800.0
"""2026-01-31T12:00:00Z."""


def image(number: int, size_bytes: int = 100) -> bytes:
    return JPEG + number.to_bytes(4, "big") + bytes(size_bytes)


@pytest.fixture
def pictures(tmp_path: Path) -> PictureSet:
    return PictureSet(tmp_path / "pictures", min_free_bytes=0)


def fill(pictures: PictureSet, class_name: str, *numbers: int) -> list[str]:
    return [pictures.add(class_name, image(n), "camera", NOON + n).id for n in numbers]


def held(pictures: PictureSet) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for each in reversed(pictures.pictures()):
        found.setdefault(each.class_name, []).append(each.path.read_bytes())
    return found


def test_a_picture_keeps_when_and_where_it_was_taken(pictures: PictureSet) -> None:
    (one,) = fill(pictures, "empty", 1)
    added = pictures.add("empty", image(2), "My photo_7.JPG", None)
    assert one.startswith("20260131T120001.000Z_camera_") and one.endswith(".jpg")
    assert pictures.get(one).source == "camera" and pictures.get(one).at_unix_s == NOON + 1
    assert added.source == "My-photo-7.JPG" and added.id.startswith("My-photo-7.JPG_")
    assert [each.id for each in pictures.pictures("empty")] == [added.id, one], "the latest first"


def test_no_picture_is_kept_twice_and_adding_it_to_another_class_corrects_it(pictures: PictureSet) -> None:
    (one,) = fill(pictures, "empty", 1)
    assert pictures.add("empty", image(1), "copy", NOON + 60).id == one
    assert pictures.add("full", image(1), "copy", None).class_name == "full"
    assert held(pictures) == {"full": [image(1)]}


def test_every_change_can_be_taken_back(pictures: PictureSet) -> None:
    ids = fill(pictures, "empty", 1, 2, 3)
    before = held(pictures)
    pictures.move(ids[:2], "full")
    assert pictures.counts() == {"empty": 1, "full": 2}
    pictures.delete([ids[2]])
    assert pictures.counts() == {"full": 2}, "a class without pictures is gone"
    assert pictures.undo_in_words() == "deleted 1 picture of empty"
    assert pictures.undo() == "deleted 1 picture of empty"
    assert pictures.undo() == "moved 2 pictures to full"
    assert held(pictures) == before
    assert pictures.undo() == "added 3 pictures to empty", "a burst is taken back as a whole"
    assert held(pictures) == {}
    with pytest.raises(TeachingError, match="nothing to undo"):
        pictures.undo()


def test_a_deleted_picture_is_gone_when_its_deletion_cannot_be_taken_back_any_more(
    pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_CHANGES", 2)
    ids = fill(pictures, "empty", 1, 2, 3)
    for each in ids:
        pictures.delete([each])
    kept = {path.read_bytes() for path in pictures.folder.rglob("*.jpg")}
    assert kept == {image(2), image(3)}


def test_changes_are_counted_from_the_last_training(pictures: PictureSet) -> None:
    ids = fill(pictures, "empty", 1, 2)
    state = pictures.state()
    pictures.move(ids[:1], "full")
    pictures.mark_taught(state)
    assert pictures.changes() == 1, "what changed during the training counts"
    pictures.undo()
    assert pictures.changes() == 2


@pytest.mark.parametrize("killed_after", range(4))
def test_killed_in_the_middle_of_a_change_nothing_is_lost(
    pictures: PictureSet, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    ids = fill(pictures, "empty", 1, 2, 3)
    before, real, left = held(pictures), Path.rename, iter(range(killed_after))

    def rename(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise SystemExit
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    if killed_after < 3:
        with pytest.raises(SystemExit):
            pictures.move(ids, "full")
    else:
        pictures.move(ids, "full")
    monkeypatch.undo()
    again = PictureSet(pictures.folder, min_free_bytes=0)
    assert sum(again.counts().values()) == 3
    again.undo()
    assert held(again) == before


def test_killed_while_it_writes_a_picture_is_not_there_and_its_remains_are_removed(
    pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pictures, "empty", 1)

    def killed(path: Path, target: Path) -> Path:
        raise SystemExit

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(SystemExit):
        fill(pictures, "empty", 2)
    monkeypatch.undo()
    assert pictures.counts() == {"empty": 1}
    fill(pictures, "empty", 3)
    assert not list(pictures.folder.glob(".part-*"))


def test_it_is_bounded_in_number_and_bytes_and_leaves_room_on_the_disk(tmp_path: Path) -> None:
    few = PictureSet(tmp_path / "few", most_pictures=1, min_free_bytes=0)
    fill(few, "empty", 1)
    with pytest.raises(TeachingError, match="has 1 pictures, the most it can have"):
        fill(few, "empty", 2)
    small = PictureSet(tmp_path / "small", most_bytes=150, min_free_bytes=0)
    fill(small, "empty", 1)
    with pytest.raises(TeachingError, match="delete some, or teach from a folder of your own"):
        fill(small, "empty", 2)
    full = PictureSet(tmp_path / "full", min_free_bytes=1 << 60)
    with pytest.raises(TeachingError, match="the disk is too full"):
        fill(full, "empty", 1)
    assert [each.counts() for each in (few, small, full)] == [{"empty": 1}, {"empty": 1}, {}]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taught").write_text("a file where the folder should be")
    with pytest.raises(TeachingError, match=r"taught/pictures: cannot be written: Not a directory"):
        fill(PictureSet(tmp_path / "taught" / "pictures"), "empty", 1)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".x", "unknown", " a", "x" * 101, "a\nb", "🐈" * 64])
def test_a_name_that_no_class_can_have_is_one_line(pictures: PictureSet, name: str) -> None:
    with pytest.raises(TeachingError):
        fill(pictures, name, 1)
    assert not pictures.folder.exists()


def test_a_change_that_cannot_begin_leaves_nothing_to_undo(pictures: PictureSet) -> None:
    (mine,) = fill(pictures, "empty", 1)
    before = pictures.undo_in_words()
    (pictures.folder / "full").write_text("a file, where a folder must be")
    with pytest.raises(TeachingError, match="cannot be written"):
        pictures.move([mine], "full")
    assert pictures.undo_in_words() == before
    pictures.undo()
    assert pictures.pictures() == []


def test_a_class_that_another_process_empties_does_not_disturb_who_looks(pictures: PictureSet) -> None:
    (mine,) = fill(pictures, "empty", 1)
    other = PictureSet(pictures.folder)

    def move_to_and_fro() -> None:
        for _ in range(40):
            other.move([mine], "full")
            other.move([mine], "empty")

    with ThreadPoolExecutor(1) as threads:
        moving = threads.submit(move_to_and_fro)
        while not moving.done():
            pictures.pictures()
        moving.result()


def test_what_is_no_image_or_not_there_is_one_line(pictures: PictureSet) -> None:
    with pytest.raises(TeachingError, match=r"notes\.txt: not an image"):
        pictures.add("empty", b"hello", "notes.txt", None)
    with pytest.raises(TeachingError, match=r"no picture '\.\./\.\./etc' in the teaching set"):
        pictures.move(["../../etc"], "empty")


def test_two_processes_at_once_lose_nothing(pictures: PictureSet) -> None:
    code = (
        "import sys; from pathlib import Path; from incv3d.teaching.picture_set import PictureSet\n"
        "pictures = PictureSet(Path(sys.argv[1]), min_free_bytes=0)\n"
        "for n in range(20):\n"
        "    data = b'\\xff\\xd8\\xff' + sys.argv[2].encode() + bytes([n])\n"
        "    added = pictures.add(sys.argv[2], data, 'camera', n)\n"
        "    if n % 2: pictures.move([added.id], 'both')\n"
    )
    words = [sys.executable, "-c", code, str(pictures.folder)]
    children = [subprocess.Popen([*words, name]) for name in ("one", "two")]
    assert [child.wait(120) for child in children] == [0, 0]
    assert pictures.counts() == {"both": 20, "one": 10, "two": 10}
    assert pictures.state() == 60
