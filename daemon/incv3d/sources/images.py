"""Pictures from files, replayed at a rate: the demonstration, and a camera for tests."""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
from pathlib import Path

from incv3d.config.address import Address
from incv3d.frames import Frame
from incv3d.sources.base import SourceAbsent, SourceError

LOG = logging.getLogger(__name__)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
LARGEST_FILE = 128 * 1024 * 1024
"""Bytes of a picture; a larger file is not read into memory."""


def find_pictures(path: str) -> list[Path]:
    """The pictures that `path` names: a file, a folder or a glob pattern; sorted by name.

    :raises SourceAbsent: when it names none.
    """
    if "://" in path:
        raise SourceAbsent(f"{Address(path)}: pictures are read from files; curl, for one, fetches them")
    named = Path(path)
    if named.is_file():
        return [named]
    try:
        # Path.glob takes no absolute patterns.
        found = named.iterdir() if named.is_dir() else map(Path, glob.glob(path, recursive=True))  # noqa: PTH207
        pictures = sorted(each for each in found if _is_picture(each))
    except OSError as error:
        raise SourceError(f"{Address(path)}: cannot be read: {error.strerror}") from None
    if not pictures and not named.exists() and not glob.has_magic(path):
        raise SourceAbsent(f"{Address(path)}: no such file or folder")
    if not pictures:
        raise SourceAbsent(f"{Address(path)}: no pictures there ({', '.join(sorted(SUFFIXES))})")
    return pictures


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def shown_name(path: str | Path) -> str:
    """Return the name of a file as text that can be printed and sent, whatever its encoding."""
    return os.fsencode(path).decode("utf-8", "replace")


def read_picture(path: Path) -> bytes:
    """Return the bytes of the file at `path`.

    :raises SourceError: it cannot be read, or is too large to be a picture.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise SourceError(
                f"{shown_name(path)}: larger than {LARGEST_FILE >> 20} MiB, too large for a picture"
            )
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{shown_name(path)}: cannot be read: {error.strerror}") from None


class ImagesSource:
    """Replays pictures, `fps` of them a second.

    :param path: a file, a folder or a glob pattern.
    :param fps: 0: as fast as they are taken.
    :param loop: begin again after the last picture, else end there.
    :raises SourceAbsent: when there are no pictures at `path`.
    """

    lost_frames = 0
    idle_until = 0.0

    def __init__(self, name: str, path: str, fps: float, loop: bool) -> None:
        self._name = name
        self._pictures = find_pictures(path)
        self._interval_s = 1 / fps if fps else 0.0
        self._loop = loop
        self._next = 0
        self._due = time.monotonic()
        self._interrupted = threading.Event()

    def capture(self, after: float) -> Frame | None:
        """The next picture, when it is due; None after the last one or after :meth:`interrupt`.

        :raises SourceError: when no picture can be read any more.
        """
        for _ in range(len(self._pictures)):
            if self._next == len(self._pictures):
                if not self._loop:
                    return None
                self._next = 0
            if self._interrupted.wait(max(0.0, max(self._due, after) - time.monotonic())):
                return None
            picture = self._pictures[self._next]
            self._next += 1
            now = time.monotonic()
            # A replay that fell behind goes on from now instead of catching up in a burst.
            self._due = max(self._due + self._interval_s, now)
            try:
                data = read_picture(picture)
            except SourceError as error:
                LOG.warning("%s", error)
            else:
                return Frame(self._name, data, None, received=now, captured=now, id=shown_name(picture.name))
        raise SourceError("none of the pictures can be read any more")

    def interrupt(self) -> None:
        """End the replay."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing is held open."""
