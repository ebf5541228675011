"""What a lesson does with what was taught before; the command's tests teach whole lessons."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from doubles import jpeg
from heads import axes, facts_of, head_of
from incv3d.models.taught.store import TaughtStore
from incv3d.teaching.dataset import FoundFiles, ImageFile
from incv3d.teaching.errors import UnusableSet
from incv3d.teaching.examples import Example
from incv3d.teaching.groups import Origin
from incv3d.teaching.lesson import Lesson, find_lesson_files, read_again, report_before
from incv3d.teaching.picture_set import PictureSet
from incv3d.teaching.training import train
from taught_pictures import pictures


def test_a_damaged_report_of_the_head_before_does_not_keep_one_from_teaching_again(tmp_path: Path) -> None:
    store, head = TaughtStore(tmp_path), head_of(("empty", "full"), axes(2))
    report = train(pictures([6, 6])).report
    store.save(head, facts_of("mine", head), msgspec.json.encode(report))
    assert report_before(store.get("mine")) == report
    store.save(head, facts_of("mine", head), b'{"format": 1')
    assert report_before(store.get("mine")) is None
    (store.get("mine").folder / "report.json").unlink()
    assert report_before(store.get("mine")) is None


def test_a_golden_picture_that_its_owner_removed_or_changed_meanwhile_is_none(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    path.write_bytes(b"picture")
    files = FoundFiles((ImageFile(path, "empty", "empty/1.jpg"),))
    sha256 = hashlib.sha256(b"picture").hexdigest()
    golden = Example("empty/1.jpg", "empty", axes(2)[0], sha256, Origin())
    assert read_again(golden, files) == b"picture"
    path.write_bytes(b"another one")
    assert read_again(golden, files) == b""
    path.unlink()
    assert read_again(golden, files) == b""


def test_a_folder_that_is_gone_is_named_with_the_way_out(tmp_path: Path) -> None:
    own = PictureSet(tmp_path / "pictures", min_free_bytes=0)
    for number, name in enumerate(("empty", "full")):
        own.add(name, jpeg(seed=number), name, None)
    gone = Lesson("feeder", tmp_path / "gone", None, None)
    with pytest.raises(UnusableSet, match=r"gone: is gone; .*: incv3d teach '' --name feeder$"):
        find_lesson_files(gone, own)
    found, _ = find_lesson_files(Lesson("feeder", None, None, None), own)
    assert sorted(each.label for each in found.files) == ["empty", "full"]
