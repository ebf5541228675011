"""What is found in folders, and what becomes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from incv3d.engines.base import Features, Feed
from incv3d.images.preprocess import Preprocessor
from incv3d.models.entry import ModelError
from incv3d.teaching.dataset import find_files
from incv3d.teaching.errors import TeachingError, UnusableSet
from incv3d.teaching.feature_cache import FeatureCache, cache_key
from incv3d.teaching.features import Collected, collect
from incv3d.teaching.training import train
from taught_pictures import picture

LENGTH = 48
SetOf = Callable[..., Path]


def see(feed: Feed) -> Features:
    """A network: the mean of each of 16 fields, in each color."""
    assert isinstance(feed, np.ndarray)
    return feed.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).ravel().astype(np.float32)


@pytest.fixture
def taken_in(tmp_path: Path, preprocessor: Preprocessor) -> Callable[..., Collected]:
    """Collect the pictures of a folder."""

    def run(folder: Path, network: Callable[[Feed], Features] = see) -> Collected:
        with FeatureCache(tmp_path / "cache", "key", LENGTH) as cache:
            return collect(find_files(folder), preprocessor, network, cache, least_side=32)

    return run


def test_folders_become_classes_and_teach(set_of: SetOf, taken_in: Callable[..., Collected]) -> None:
    collected = taken_in(set_of(empty=8, full=6))
    assert [each.name for each in collected.examples][:2] == ["empty/0.jpg", "empty/1.jpg"]
    trained = train(collected.examples, findings=collected.findings)
    assert trained.head.classes == ("empty", "full")
    said = [trained.head.rank(each.features, 1)[0].label for each in collected.examples]
    assert said == [each.label for each in collected.examples]


def test_names_may_be_anything_that_people_write(set_of: SetOf, taken_in: Callable[..., Collected]) -> None:
    folder = set_of(empty=3, full=3)
    strange = folder / "voll bis übern Rand 🐦"
    (folder / "full").rename(strange)
    (strange / "0.jpg").rename(strange / "Bild (1), Kopie 🐦.JPG")
    (strange / "1.jpg").rename(os.fsdecode(os.fsencode(strange) + b"/\xff.jpg"))
    collected = taken_in(folder)
    assert len(collected.examples) == 6
    assert {each.label for each in collected.examples} == {"empty", strange.name}


def test_what_is_no_picture_is_left_out_with_the_reason(
    set_of: SetOf, taken_in: Callable[..., Collected]
) -> None:
    folder = set_of(empty=4, full=4)
    (folder / "empty/cut.jpg").write_bytes(picture("empty", 50)[:900])
    (folder / "empty/imageNotFound.gif").write_bytes(b"GIF89a\1\0\1\0\0\0\0;")
    (folder / "empty/phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (folder / "empty/nothing.jpg").write_bytes(b"")
    (folder / "empty/gone.jpg").symlink_to("/nonexistent")
    (folder / "full/notes.txt").write_text("remember")
    for junk in ("Thumbs.db", ".hidden.jpg", "desktop.ini"):
        (folder / "full" / junk).write_bytes(b"junk")
    (folder / ".git").mkdir()
    (folder / "later").mkdir()
    (folder / "README.md").write_text("pictures of a feeder")
    collected = taken_in(folder)
    assert len(collected.examples) == 8
    assert [each.partition(":")[0] for each in collected.findings.damaged] == ["empty/cut.jpg"]
    ignored = "\n".join(collected.findings.ignored)
    names = ("nothing.jpg", "gone.jpg: cannot be read", "notes.txt", "later: an empty folder", "README.md")
    for name in names:
        assert name in ignored
    assert "imageNotFound.gif: not a JPEG" in ignored and "HEIC" in ignored
    assert "junk" not in ignored and "hidden" not in ignored and len(collected.findings.ignored) == 7


def test_small_and_dark_pictures_teach_and_are_reported(
    set_of: SetOf, taken_in: Callable[..., Collected]
) -> None:
    folder = set_of(empty=4, full=4)
    (folder / "empty/icon.jpg").write_bytes(picture("empty", 60, size=20))
    black = folder / "empty/night.png"
    black.write_bytes(picture("empty", 61))
    Image.new("RGB", (64, 64), (3, 3, 3)).save(black)
    collected = taken_in(folder)
    assert collected.findings.small == ("empty/icon.jpg: 20 pixels",)
    assert collected.findings.dark == ("empty/night.png",)
    assert len(collected.examples) == 10


def test_a_picture_that_is_there_twice_counts_once(set_of: SetOf, taken_in: Callable[..., Collected]) -> None:
    folder = set_of(empty=4, full=4)
    shutil.copy(folder / "empty/0.jpg", folder / "empty/copy.jpg")
    shutil.copy(folder / "empty/1.jpg", folder / "full/wrong.jpg")
    collected = taken_in(folder)
    assert collected.findings.duplicates == ("empty/copy.jpg: the same as empty/0.jpg",)
    assert collected.findings.contradictory == ("empty/1.jpg and full/wrong.jpg",)
    assert len(collected.examples) == 7


def test_sub_folders_are_groups(set_of: SetOf, taken_in: Callable[..., Collected]) -> None:
    folder = set_of(empty=4, full=4)
    for day, first in (("monday", 100), ("tuesday", 200)):
        noon = folder / "empty" / day / "noon"
        noon.mkdir(parents=True)
        for number in range(3):
            (noon / f"{number}.jpg").write_bytes(picture("empty", first + number))
    (folder / "empty/monday/back").symlink_to(folder / "empty")
    collected = taken_in(folder)
    assert len(collected.examples) == 14
    assert {each.origin.folder for each in collected.examples} == {"", "monday/noon", "tuesday/noon"}


def test_a_set_of_thousands_is_read_in_part(set_of: SetOf) -> None:
    found = find_files(set_of(empty=30, full=10), most=20)
    assert [sum(each.label == label for each in found.files) for label in ("empty", "full")] == [15, 5]
    assert [each.path.stem for each in found.files if each.label == "full"] == ["0", "2", "4", "6", "8"]
    assert len(found.ignored) == 2 and "5 of 10 files" in found.ignored[1]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "no files"),
        ({"empty": 5}, "only one class, `empty`"),
        ({"empty": 5, "full": 0}, "only one class, `empty`"),
        ({"empty": 0, "full": 0}, "no files"),
        ({"train": 2, "val": 2}, "teach from .*/set/train; --test"),
    ],
)
def test_a_folder_that_cannot_teach_is_refused_before_anything_is_read(
    set_of: SetOf, counts: dict[str, int], message: str
) -> None:
    folder = set_of(**counts)
    folder.mkdir(exist_ok=True)
    with pytest.raises(UnusableSet, match=message) as caught:
        find_files(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSet, match="no such folder"):
        find_files(tmp_path / "nowhere")
    (tmp_path / "picture.jpg").write_bytes(picture("empty", 1))
    with pytest.raises(UnusableSet, match="not a folder"):
        find_files(tmp_path / "picture.jpg")
    with pytest.raises(UnusableSet, match="1 files, but no folders"):
        find_files(tmp_path)


def test_a_class_cannot_be_called_unknown(set_of: SetOf) -> None:
    with pytest.raises(ModelError, match="`unknown`"):
        find_files(set_of(empty=1, unknown=1))


def test_two_classes_with_the_same_pictures_are_refused(
    set_of: SetOf, taken_in: Callable[..., Collected]
) -> None:
    folder = set_of(empty=4)
    shutil.copytree(folder / "empty", folder / "full")
    with pytest.raises(UnusableSet, match="`empty` and `full` hold the same pictures"):
        taken_in(folder)


def test_a_class_of_damaged_pictures_is_refused(set_of: SetOf, taken_in: Callable[..., Collected]) -> None:
    folder = set_of(empty=4, full=0)
    (folder / "full/0.jpg").write_bytes(picture("full", 0)[:500])
    with pytest.raises(UnusableSet, match=r"`full` has no pictures that can be read \(full/0.jpg: "):
        taken_in(folder)


def test_a_picture_is_looked_at_once(set_of: SetOf, taken_in: Callable[..., Collected]) -> None:
    folder = set_of(empty=3, full=3)
    looked = 0

    def counting(feed: Feed) -> Features:
        nonlocal looked
        looked += 1
        if looked == 5:
            raise KeyboardInterrupt
        return see(feed)

    with pytest.raises(KeyboardInterrupt):
        taken_in(folder, counting)
    first = taken_in(folder, counting)
    assert looked == 7
    (folder / "full/0.jpg").rename(folder / "full/renamed.jpg")
    again = taken_in(folder, counting)
    assert looked == 7
    assert np.array_equal(first.examples[0].features, again.examples[0].features)


def test_a_torn_record_is_cut_off(set_of: SetOf, tmp_path: Path, taken_in: Callable[..., Collected]) -> None:
    folder = set_of(empty=3, full=3)
    taken_in(folder)
    file = tmp_path / "cache/key.features"
    whole = file.read_bytes()
    torn = bytearray(whole[:-100])
    torn[len(whole) * 2 // 3] ^= 1
    file.write_bytes(torn)
    with FeatureCache(tmp_path / "cache", "key", LENGTH) as cache:
        assert len(cache) == 4
    assert file.stat().st_size == len(whole) * 4 // 6
    assert len(taken_in(folder).examples) == 6
    assert file.read_bytes() == whole


def test_features_of_pictures_that_are_gone_are_removed(
    set_of: SetOf, tmp_path: Path, taken_in: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = set_of(empty=9, full=3)
    taken_in(folder)
    monkeypatch.setattr("incv3d.teaching.feature_cache.SPARE", 2)
    for number in range(2, 9):
        (folder / f"empty/{number}.jpg").unlink()
    taken_in(folder)
    with FeatureCache(tmp_path / "cache", "key", LENGTH) as cache:
        assert len(cache) == 5


def test_caches_of_other_networks_are_bounded(tmp_path: Path) -> None:
    keys = [cache_key("abc", "int8", "crop", fraction / 10) for fraction in range(1, 6)]
    assert len(set(keys)) == 5
    for key in keys:
        FeatureCache(tmp_path, key, LENGTH).__exit__(None, None, None)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TeachingError, match="cannot be written"):
        FeatureCache(tmp_path / "file", "key", LENGTH)
