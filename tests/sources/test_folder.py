"""A folder that a camera drops pictures into: each is handed out once, whole, and the newest first."""

from __future__ import annotations

import os
import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.config.source import SourceSection
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import (
    CaptureSchedule,
    FrameSource,
    SourceAbsent,
    SourceSupervisor,
    folder,
    folder_watch,
    source_opener,
)
from incv3d.sources.folder import FolderSource, FolderState, has_end
from incv3d.sources.folder_watch import FolderWatch
from incv3d.sources.image_files import LARGEST_FILE

PICTURE = jpeg(64, 48)
SOON_S = 15.0
QUIET_S = 1.5
"""In which a picture that must not come would have come."""


@pytest.fixture
def watch() -> Iterator[Callable[..., FrameSource]]:
    opened: list[FrameSource] = []

    def open_it(path: object, **more: object) -> FrameSource:
        opener = source_opener(SourceSection(type="images", path=str(path), watch=True, **more))
        assert opener
        opened.append(opener())
        return opened[-1]

    yield open_it
    for source in opened:
        source.close()


def within(source: FrameSource, most_s: float, after: float = 0.0) -> str | None:
    """The id of the next picture; None when none came in time."""
    timer = threading.Timer(most_s, source.interrupt)
    timer.start()
    try:
        frame = source.capture(after)
    finally:
        timer.cancel()
        timer.join()
        source._interrupted.clear()  # type: ignore[attr-defined]
    return str(frame.id) if frame else None


def soon(source: FrameSource) -> str | None:
    return within(source, SOON_S)


def put(path: Path, age_s: float = 100.0, data: bytes = PICTURE) -> Path:
    """A file that was written `age_s` ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_what_is_there_comes_newest_first_and_what_comes_later_comes_before_it(tmp_path: Path, watch) -> None:
    for name, age_s in (("b.jpg", 300), ("a.PNG", 200), ("c.jpeg", 100)):
        put(tmp_path / name, age_s)
    put(tmp_path / "notes.txt")
    source = watch(tmp_path)
    assert soon(source) == "c.jpeg"
    put(tmp_path / "old-clock.jpg", age_s=10_000)
    time.sleep(folder.LOOK_S)
    assert [soon(source) for _ in range(3)] == ["old-clock.jpg", "a.PNG", "b.jpg"]
    assert within(source, QUIET_S) is None, "each comes once"


def test_a_image_that_is_dropped_into_an_empty_folder_is_seen(tmp_path: Path, watch) -> None:
    source = watch(tmp_path)
    assert within(source, 0.2) is None
    for name in ("1.jpg", "2.jpg"):
        put(tmp_path / name, age_s=0)
        dropped = time.monotonic()
        assert soon(source) == name
        assert time.monotonic() - dropped < 5


def test_folders_of_days_that_are_made_later_are_seen(tmp_path: Path, watch) -> None:
    put(tmp_path / "2026-01-01/am/1.jpg")
    source = watch(tmp_path)
    assert soon(source) == "2026-01-01/am/1.jpg"
    put(tmp_path / "2026-01-02/pm/1.jpg")
    assert soon(source) == "2026-01-02/pm/1.jpg"
    put(tmp_path / "2026-01-01/am/2.jpg")
    assert soon(source) == "2026-01-01/am/2.jpg"
    shutil.rmtree(tmp_path / "2026-01-01")
    assert within(source, QUIET_S) is None


def test_a_file_that_is_still_written_is_waited_for(tmp_path: Path, watch, monkeypatch) -> None:
    monkeypatch.setattr(folder, "UNFINISHED_S", 2 * QUIET_S)
    source = watch(tmp_path)
    path = tmp_path / "slow.jpg"
    with path.open("wb") as file:
        for piece in (b"", PICTURE[:100], PICTURE[100:600]):
            file.write(piece)
            file.flush()
            assert within(source, QUIET_S) is None
        file.write(PICTURE[600:])
    frame = source.capture(0.0)
    assert frame and frame.data == PICTURE and frame.id == "slow.jpg"
    put(tmp_path / "cut.jpg", age_s=0, data=PICTURE[:-50])
    assert soon(source) == "cut.jpg", "after a while the decoder has to judge it"


def test_hidden_and_temporary_names_are_passed_over_until_they_are_renamed(tmp_path: Path, watch) -> None:
    for hidden in (".a.jpg", ".in.b.jpg.", "c.jpg.part", "d.jpg.tmp", ".hidden/e.jpg"):
        put(tmp_path / hidden)
    source = watch(tmp_path)
    assert within(source, QUIET_S) is None
    (tmp_path / "c.jpg.part").rename(tmp_path / "c.jpg")
    assert soon(source) == "c.jpg"


def test_one_name_that_is_written_again_and_again_is_seen_each_time(tmp_path: Path, watch) -> None:
    for path in (tmp_path / "folder", tmp_path / "latest.jpg"):
        file = path if path.suffix else path / "latest.jpg"
        file.parent.mkdir(exist_ok=True)
        source = watch(path)
        for seed in range(3):
            picture = jpeg(64, 48, seed=seed)
            put(file, age_s=0, data=picture)
            frame = source.capture(0.0)
            assert frame and frame.data == picture and frame.id == "latest.jpg"
        assert within(source, QUIET_S) is None


def test_a_name_that_is_not_utf_8_becomes_an_id_that_can_be_sent(tmp_path: Path, watch) -> None:
    put(tmp_path / os.fsdecode(b"f\xfcr.jpg"))
    assert soon(watch(tmp_path)) == "f\N{REPLACEMENT CHARACTER}r.jpg"
    replayed = source_opener(SourceSection(type="images", path=str(tmp_path)))
    assert replayed and soon(replayed()) == "f\N{REPLACEMENT CHARACTER}r.jpg"


def test_a_pattern_is_watched_too(tmp_path: Path, watch) -> None:
    put(tmp_path / "a/1.jpg"), put(tmp_path / "a/ignored.png")
    source = watch(tmp_path / "*" / "*.jpg")
    assert soon(source) == "1.jpg"
    put(tmp_path / "b/2.jpg")
    assert soon(source) == "2.jpg"
    assert within(source, QUIET_S) is None


def test_no_image_is_taken_before_it_is_wanted(tmp_path: Path, watch) -> None:
    put(tmp_path / "1.jpg")
    source = watch(tmp_path)
    wanted = time.monotonic() + 0.5
    assert within(source, SOON_S, after=wanted) == "1.jpg" and time.monotonic() >= wanted


def test_what_was_handed_out_is_remembered_when_the_folder_was_away(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "mount", tmp_path / "elsewhere"
    put(folder / "1.jpg"), put(folder / "2.jpg", age_s=50)
    opener = source_opener(SourceSection(type="images", path=str(folder), watch=True, transform="rotate90"))
    assert opener
    source = opener()
    frame = source.capture(0.0)
    assert frame and frame.id == "2.jpg" and frame.transform == "rotate90"
    folder.rename(elsewhere)
    with pytest.raises(SourceAbsent, match="mount: no such folder"):
        while source.capture(0.0):
            pass
    with pytest.raises(SourceAbsent):
        opener()
    elsewhere.rename(folder)
    put(folder / "3.jpg")
    again = opener()
    frames = [again.capture(0.0) for _ in range(2)]
    assert [frame and frame.id for frame in frames] == ["3.jpg", "1.jpg"]


def test_every_image_of_a_burst_reaches_a_slow_session_and_no_stall_is_reported(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / f"{number}.jpg", age_s=100 - number)
    section = SourceSection(type="images", path=str(tmp_path), watch=True, stall_timeout_s=0.5)
    opener = source_opener(section)
    assert opener and section.takes_every_frame
    frame_queue = FrameQueue(1, 1, 1, lambda frame: False)
    problems: list[object] = []
    capture = SourceSupervisor(
        "folder",
        opener,
        frame_queue,
        CaptureSchedule(section.frame_interval_s, section.takes_every_frame, section.frame_timeout_s),
        lambda: problems.append("dropped"),
        on_end=problems.append,
        on_death=lambda *death: problems.append(death),
    )
    capture.start()
    try:
        taken = []
        for _ in range(4):
            time.sleep(0.1)
            frame = frame_queue.take(False)
            taken.append(frame and frame.id)
        assert taken == ["3.jpg", "2.jpg", "1.jpg", "0.jpg"]
        time.sleep(3 * section.frame_timeout_s)  # nothing comes for longer than a camera may take
        status = capture.status()
        assert (status.state, status.recoveries, problems) == ("ok", 0, [])
        put(tmp_path / "late.jpg")
        frame = frame_queue.take(False)
        assert frame and frame.id == "late.jpg"
    finally:
        capture.close()
        frame_queue.close()


def test_of_a_large_archive_the_newest_are_kept_and_the_rest_is_said(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(folder, "MOST_WAITING", 3)
    for number in range(10):
        put(tmp_path / f"{number}.jpg", age_s=1000 - number)
    source = FolderSource("folder", FolderState(FolderWatch(str(tmp_path))))
    assert [soon(source) for _ in range(3)] == ["9.jpg", "8.jpg", "7.jpg"]
    assert within(source, QUIET_S) is None
    assert "more than 3 images wait; the oldest are dropped" in caplog.text


def test_months_of_images_take_little_memory_and_are_not_looked_at_again(tmp_path: Path, monkeypatch) -> None:
    count = 20_000
    for day in range(20):
        folder = tmp_path / f"day-{day:02d}"
        folder.mkdir()
        for number in range(count // 20):
            (folder / f"{number:06d}-snapshot-of-the-camera.jpg").touch()
        then = time.time() - 1000
        os.utime(folder, (then, then))
    watch = FolderWatch(str(tmp_path))
    assert sum(1 for _ in watch.look()) == count
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    fresh = FolderWatch(str(tmp_path))
    for _ in fresh.look():
        pass
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 12 * count + 50_000, kept
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(folder_watch.os, "scandir", lambda path: listed.append(path) or scandir(path))
    put(tmp_path / "day-07/new.jpg")
    assert [Path(path).name for path, _ in watch.look()] == ["new.jpg"]
    assert set(listed) <= {str(tmp_path), str(tmp_path / "day-07")}


def test_a_long_look_makes_the_next_one_later(tmp_path: Path, monkeypatch) -> None:
    source = FolderSource("folder", FolderState(FolderWatch(str(tmp_path))))
    look = source._watch.folder.look
    monkeypatch.setattr(source._watch.folder, "look", lambda: time.sleep(0.3) or look())
    began = time.monotonic()
    source._look()
    assert source._next_look - began >= 0.3 / folder.LOOKING_SHARE


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (PICTURE, True),
        (PICTURE + b"\0" * 100, True),
        (PICTURE[:-10], False),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100 + b"IEND\xaeB`\x82", True),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, False),
        (b"RIFF" + (92).to_bytes(4, "little") + b"WEBP" + b"x" * 88, True),
        (b"RIFF" + (92).to_bytes(4, "little") + b"WEBP" + b"x" * 87, False),
        (b"BM" + (50).to_bytes(4, "little") + b"x" * 44, True),
        (b"BM" + (50).to_bytes(4, "little") + b"x" * 43, False),
        (b"text", True),
    ],
)
def test_a_file_tells_whether_it_has_its_end(tmp_path: Path, data: bytes, whole: bool) -> None:
    path = put(tmp_path / "picture", data=data)
    assert has_end(str(path), len(data)) is whole


def test_a_folder_that_is_not_there_is_absent(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "nowhere/latest.jpg"):
        with pytest.raises(SourceAbsent, match="no such folder"):
            FolderSource("folder", FolderState(FolderWatch(str(path))))


def test_a_share_that_is_mounted_again_brings_nothing_twice(tmp_path: Path, watch) -> None:
    share, elsewhere = tmp_path / "share", tmp_path / "elsewhere"
    put(share / "day/1.jpg"), put(share / "2.jpg", age_s=50), put(share / "3.jpg", age_s=20)
    source = watch(share)
    assert [soon(source) for _ in range(2)] == ["3.jpg", "2.jpg"]
    share.rename(elsewhere)
    share.mkdir()  # the empty folder that it was mounted over
    source._look()
    share.rmdir()
    elsewhere.rename(share)
    assert soon(source) == "day/1.jpg"
    assert within(source, QUIET_S) is None


def test_a_file_too_large_for_a_image_is_passed_over(tmp_path: Path, watch, caplog) -> None:
    put(tmp_path / "picture.jpg", age_s=200)
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    os.utime(tmp_path / "film.jpg", (time.time() - 100,) * 2)
    assert soon(watch(tmp_path)) == "picture.jpg"
    assert "film.jpg: larger than 128 MiB" in caplog.text
