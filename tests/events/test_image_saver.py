"""The thread that writes pictures: what it writes, what it drops, and what a bad disk does to it."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.events.image_folder import ImageFolder
from incv3d.events.image_saver import MOST_WAITING, MOST_WAITING_BYTES, ImageSaver
from incv3d.events.labelled_image import ImageToSave, rendered
from incv3d.frames import Frame, Prediction

PATIENCE_S = 30
TENCH = Prediction(0, "n01440764", "tench", 0.75)
Deaths = queue.SimpleQueue[tuple[str, BaseException]]


class WatchedFolder(ImageFolder):
    """A real folder that tells of each attempt, and can be held as a slow disk holds it."""

    def __init__(self, path: Path, max_bytes: int = 1 << 30) -> None:
        super().__init__(path, 1000, max_bytes, 0)
        self.attempts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.go = threading.Event()
        self.go.set()

    def keep(self, stem: str, suffix: str, data: bytes, beside: bytes = b"") -> Path:
        self.attempts.put(stem)
        assert self.go.wait(PATIENCE_S), "nobody let it go"
        return super().keep(stem, suffix, data, beside)

    def wait(self) -> None:
        """Until the next attempt has begun."""
        self.attempts.get(timeout=PATIENCE_S)


@pytest.fixture
def deaths() -> Deaths:
    return queue.SimpleQueue()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[WatchedFolder]:
    made = WatchedFolder(tmp_path / "pictures")
    yield made
    made.go.set()


def shot(number: int = 0, data: bytes | None = None) -> ImageToSave:
    frame = Frame("camera", jpeg(seed=number) if data is None else data, None, 0.0, 0.0)
    return ImageToSave(frame, 1_767_268_800.0 + number, "entered", (TENCH,), (TENCH,), "m")


def saver(folder: ImageFolder, deaths: Deaths, retry_s: float = 0.0) -> ImageSaver:
    made = ImageSaver(
        folder, lambda image, path: None, lambda thread, error: deaths.put((thread, error)), retry_s
    )
    made.start()
    return made


def until(is_so: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < patience, "it did not come to be so"
        threading.Event().wait(0.001)


def names(folder: ImageFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def test_what_is_offered_is_written_in_order_and_counted(folder, deaths) -> None:
    saving = saver(folder, deaths)
    for number in range(3):
        assert saving.offer(shot(number))
    assert saving.close(PATIENCE_S)
    assert names(folder) == [f"20260101T12000{number}.000Z_camera_tench_0.75.jpg" for number in range(3)]
    status = saving.status()
    assert (status["saved"], status["dropped"], status["failed"], status["files"]) == (3, 0, 0, 3)
    assert status["bytes"] == sum(path.stat().st_size for path in folder.path.iterdir())
    assert status["trouble"] == "" and deaths.empty()


def test_a_slow_disk_holds_nobody_up_and_what_is_too_much_for_it_is_dropped(folder, deaths) -> None:
    folder.go.clear()
    saving = saver(folder, deaths)
    assert saving.offer(shot(0))
    folder.wait()  # this one is at the disk, the next ones wait
    assert all(saving.offer(shot(number)) for number in range(1, MOST_WAITING + 1))
    assert not saving.offer(shot(99)) and saving.status()["dropped"] == 1
    folder.go.set()
    assert saving.close(PATIENCE_S)
    assert saving.status()["saved"] == MOST_WAITING + 1 == len(names(folder))


def test_frames_that_wait_are_bounded_in_bytes_and_a_larger_one_waits_alone(folder, deaths) -> None:
    folder.go.clear()
    saving = saver(folder, deaths)
    assert saving.offer(shot(0))
    folder.wait()
    large = b"\xff\xd8\xff" + bytes(MOST_WAITING_BYTES)
    assert saving.offer(shot(1, large))
    assert not saving.offer(shot(2))
    folder.go.set()
    assert saving.close(PATIENCE_S) and saving.status()["saved"] == 2


def test_a_disk_that_hangs_is_left_behind_at_the_end(folder, deaths) -> None:
    folder.go.clear()
    saving = saver(folder, deaths)
    saving.offer(shot())
    folder.wait()
    assert not saving.close(0.05)
    assert not saving.offer(shot(1)), "it takes nothing more"


def test_a_full_disk_is_said_once_and_so_is_its_end(small_disk, deaths, caplog) -> None:
    stuffing = small_disk / "stuffing"
    folder = WatchedFolder(small_disk / "pictures")
    saving = saver(folder, deaths)
    saving.offer(shot(0))
    folder.wait()
    until(lambda: saving.status()["saved"] == 1)
    disk = os.statvfs(small_disk)
    stuffing.write_bytes(bytes(disk.f_bavail * disk.f_frsize))
    with caplog.at_level(logging.WARNING):
        for number in range(1, 4):
            saving.offer(shot(number, b"\xff\xd8\xff" + os.urandom(200_000)))
            until(lambda failed=number: saving.status()["failed"] == failed)
        stuffing.unlink()
        saving.offer(shot(4))
        assert saving.close(PATIENCE_S)
    first, second = caplog.messages
    assert first.startswith(f"{small_disk}/pictures: images cannot be saved (the disk is too full: ")
    assert second == f"{small_disk}/pictures: images are written again"
    status = saving.status()
    assert (status["saved"], status["failed"], status["trouble"]) == (2, 3, "") and deaths.empty()
    assert len(names(folder)) == 2


def test_a_disk_that_failed_is_left_alone_for_a_while(tmp_path, deaths, caplog) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = WatchedFolder(tmp_path / "file" / "pictures")
    saving = saver(folder, deaths, retry_s=3600)
    for number in range(3):
        saving.offer(shot(number))
    assert saving.close(PATIENCE_S)
    assert folder.attempts.empty(), "it was tried again and again"
    assert saving.status()["failed"] == 3 and saving.status()["trouble"] == "Not a directory"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "file/pictures: images cannot be saved (Not a directory)" in caplog.text


def test_a_folder_that_vanishes_is_made_anew(folder, deaths) -> None:
    saving = saver(folder, deaths)
    saving.offer(shot(0))
    folder.wait()
    until(lambda: saving.status()["saved"] == 1)
    (folder.path / names(folder)[0]).unlink()
    folder.path.rmdir()
    saving.offer(shot(1))
    assert saving.close(PATIENCE_S)
    assert len(names(folder)) == 1 and saving.status()["failed"] == 0


def test_a_frame_that_cannot_be_made_a_image_costs_itself_alone(folder, deaths, caplog) -> None:
    bad = shot(0)
    bad = replace(bad, frame=replace(bad.frame, encoding="rgb24", width=9, height=9))
    saving = saver(folder, deaths)
    saving.offer(bad)
    saving.offer(shot(1))
    assert saving.close(PATIENCE_S)
    assert "a frame of camera could not be encoded" in caplog.text
    assert (saving.status()["failed"], saving.status()["saved"]) == (1, 1) and deaths.empty()


def test_a_thread_that_cannot_go_on_says_so(tmp_path, deaths) -> None:
    class BrokenFolder(ImageFolder):
        def open(self) -> None:
            raise ZeroDivisionError("a bug")

    saver(BrokenFolder(tmp_path, 1, 1, 0), deaths)
    thread, error = deaths.get(timeout=PATIENCE_S)
    assert thread == "saving" and isinstance(error, ZeroDivisionError)


def test_a_image_is_what_it_was_made_of(folder, deaths) -> None:
    saving = saver(folder, deaths)
    saving.offer(shot(3))
    assert saving.close(PATIENCE_S)
    (written,) = folder.path.iterdir()
    assert written.read_bytes() == rendered(shot(3)).data
