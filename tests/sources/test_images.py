"""Replaying pictures from files."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.images.demo import demo_folder
from incv3d.sources import SourceAbsent, SourceError
from incv3d.sources.image_files import find_images
from incv3d.sources.images import ImagesSource

FAST = 1000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "c.jpeg", "notes.txt"):
        (tmp_path / name).write_bytes(jpeg())
    return tmp_path


def test_a_file_a_folder_and_a_pattern_name_images(folder: Path) -> None:
    assert find_images(str(folder / "b.jpg")) == [folder / "b.jpg"]
    assert [path.name for path in find_images(str(folder))] == ["a.PNG", "b.jpg", "c.jpeg"]
    assert [path.name for path in find_images(str(folder / "*.jp*g"))] == ["b.jpg", "c.jpeg"]


def test_the_bundled_photographs_are_there() -> None:
    assert len(find_images(str(demo_folder()))) == 4


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "no images found"), ("gone.jpg", "no such file or folder"), ("*.gif", "no images found")],
)
def test_no_images_are_an_error_that_names_the_place(folder: Path, path: str, words: str) -> None:
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(SourceAbsent, match=words):
        find_images(str(empty / path))


def test_images_come_in_order_and_end_or_begin_again(folder: Path) -> None:
    once = ImagesSource("camera", str(folder), FAST, loop=False)
    assert [frame.id for frame in iter(lambda: once.capture(0.0), None)] == ["a.PNG", "b.jpg", "c.jpeg"]
    again = ImagesSource("camera", str(folder), FAST, loop=True)
    frames = [again.capture(0.0) for _ in range(4)]
    assert [frame and frame.id for frame in frames] == ["a.PNG", "b.jpg", "c.jpeg", "a.PNG"]
    assert all(frame and frame.source == "camera" and frame.captured > 0 for frame in frames)


def test_a_image_that_is_gone_is_passed_over(folder: Path, caplog) -> None:
    source = ImagesSource("camera", str(folder), FAST, loop=True)
    (folder / "a.PNG").unlink()
    frame = source.capture(0.0)
    assert frame and frame.id == "b.jpg"
    assert "a.PNG: cannot be read: No such file" in caplog.text


def test_when_all_images_are_gone_capturing_fails(folder: Path) -> None:
    source = ImagesSource("camera", str(folder), FAST, loop=True)
    for path in find_images(str(folder)):
        path.unlink()
    with pytest.raises(SourceError, match="none of the images"):
        source.capture(0.0)


def test_an_interruption_wakes_a_capture_that_waits(folder: Path) -> None:
    source = ImagesSource("camera", str(folder), fps=0.001, loop=True)
    assert source.capture(0.0)
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(source.capture(0.0)))
    waiter.start()
    source.interrupt()
    waiter.join(10)
    assert got == [None]


def test_a_image_is_not_replayed_before_it_is_wanted(folder: Path) -> None:
    source = ImagesSource("camera", str(folder), FAST, loop=True)
    wanted = time.monotonic() + 0.2
    frame = source.capture(wanted)
    assert frame and frame.captured >= wanted


def test_without_a_rate_images_come_as_fast_as_they_are_asked_for(folder: Path) -> None:
    source = ImagesSource("camera", str(folder), 0.0, loop=True)
    assert all(source.capture(0.0) for _ in range(100))
