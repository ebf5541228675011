"""A folder of images that is limited in number and size and keeps part of the disk free."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STEM = r"\d{8}T\d{6}\.\d{3}Z_.+_[01]\.\d\d(?:-\d+)?"
SUFFIXES = ("jpg", "png", "webp", "bmp", "json", "mp4", "mkv")
OWN = re.compile(rf"({STEM})\.(?:{'|'.join(SUFFIXES)})")
"""The files that are counted and removed; no others are touched."""
UNFINISHED = re.compile(rf"\.{STEM}\.\w+\.part")
"""Incomplete files, as a power failure leaves them."""


def is_own(name: str) -> bool:
    """Return whether a file of this name, without a folder, may be an image of the daemon."""
    return "/" not in name and OWN.fullmatch(name) is not None


@dataclass(slots=True)
class _Entry:
    """An image and its JSON file, if it has one."""

    stem: str
    names: list[str]
    size_bytes: int


class ImageFolder:
    """Stores images under names that sort by time, and removes the oldest when there is no room for more.

    Not thread-safe. Every method raises OSError if the disk fails, and leaves no incomplete file behind.

    The oldest image is the one that was written first, whatever the clock said; images from before the
    start are ordered by name.

    :param max_files: the most images; an image with a JSON file counts once.
    :param min_free_bytes: no image is written that would leave less than this free on the disk.
    """

    def __init__(self, path: Path, max_files: int, max_bytes: int, min_free_bytes: int) -> None:
        self.path = path
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._entries: deque[_Entry] = deque()
        self.size_bytes = 0
        """The total size of the stored images."""

    def __len__(self) -> int:
        """Return the number of stored images."""
        return len(self._entries)

    def open(self) -> None:
        """Create the folder if it is missing, and count what it contains."""
        self.path.mkdir(parents=True, exist_ok=True)
        entries: dict[str, _Entry] = {}
        with os.scandir(self.path) as found:
            for file in sorted(found, key=lambda each: each.name):
                if not file.is_file(follow_symlinks=False):
                    continue
                if UNFINISHED.fullmatch(file.name):
                    (self.path / file.name).unlink(missing_ok=True)
                elif own := OWN.fullmatch(file.name):
                    entry = entries.setdefault(own[1], _Entry(own[1], [], 0))
                    entry.names.append(file.name)
                    entry.size_bytes += file.stat(follow_symlinks=False).st_size
        self._entries = deque(entries.values())
        self.size_bytes = sum(entry.size_bytes for entry in self._entries)
        # Fail now rather than at the first image if the folder is not writable.
        with tempfile.TemporaryFile(dir=self.path):
            pass

    def keep(self, stem: str, suffix: str, data: bytes, metadata: bytes = b"") -> Path:
        """Write an image, completely or not at all.

        :param metadata: written to a ``.json`` file of the same name; empty: no such file.
        :returns: its path; a number is appended if the name is taken.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        size_bytes = len(data) + len(metadata)
        self._make_room(size_bytes)
        stem = self._free_stem(stem)
        files = {f"{stem}.json": metadata, f"{stem}{suffix}": data} if metadata else {f"{stem}{suffix}": data}
        written: list[str] = []
        try:
            for name, content in files.items():
                self._write(name, content)
                written.append(name)
        except OSError:
            for name in written:
                self._remove(name)
            raise
        self._entries.append(_Entry(stem, written, size_bytes))
        self.size_bytes += size_bytes
        return self.path / f"{stem}{suffix}"

    def _make_room(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            reason = f"an image of {size_bytes} bytes exceeds the limit of {self._max_bytes} bytes"
            raise OSError(errno.EFBIG, reason)
        while self._entries and (
            len(self._entries) >= self._max_files or self.size_bytes + size_bytes > self._max_bytes
        ):
            oldest = self._entries[0]
            removed = [self._remove(name) for name in oldest.names]
            if not all(removed):
                # Another program removed files here: count again, rather than remove more than needed.
                self.open()
                continue
            self._entries.popleft()
            self.size_bytes -= oldest.size_bytes
        disk = os.statvfs(self.path)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < size_bytes + self._min_free_bytes:
            needs = f"{size_bytes} needed for the file, {self._min_free_bytes} must remain free"
            raise OSError(errno.ENOSPC, f"the disk is too full: {free_bytes} bytes free, {needs}")

    def _free_stem(self, stem: str) -> str:
        return next(
            name
            for name in _numbered(stem)
            if not any((self.path / f"{name}.{suffix}").exists() for suffix in SUFFIXES)
        )

    def _remove(self, name: str) -> bool:
        """Remove a file; return whether it existed."""
        try:
            (self.path / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _write(self, name: str, content: bytes) -> None:
        """Write to a temporary file first, so that no incomplete file appears, even after a power failure."""
        unfinished = self.path / f".{name}.part"
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self.path / name)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    for number in itertools.count(2):
        yield f"{stem}-{number}"
