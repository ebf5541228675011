"""A folder of pictures that is bounded in number and in bytes, and leaves the disk room for others."""

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
SUFFIXES = ("jpg", "png", "webp", "bmp", "json")
OWN = re.compile(rf"({STEM})\.(?:{'|'.join(SUFFIXES)})")
"""The files that are counted and removed: no others are touched."""
UNFINISHED = re.compile(rf"\.{STEM}\.\w+\.part")
"""What a power cut leaves behind."""


@dataclass(slots=True)
class _Entry:
    """A picture, and what is beside it."""

    stem: str
    names: list[str]
    size_bytes: int


class ImageFolder:
    """Keeps pictures under names that sort by time; the oldest are removed when there is no room for more.

    Whoever uses it alone does so from one thread. Every method raises OSError when the disk will not do as
    it is told; nothing half written is left behind then.

    Which picture is the oldest is known by the order in which they were written, whatever the clock said;
    of those that were there before, by their names.

    :param max_files: pictures; one beside which lies a file counts once.
    :param min_free_bytes: nothing is written that would leave less than this free for others.
    """

    def __init__(self, path: Path, max_files: int, max_bytes: int, min_free_bytes: int) -> None:
        self.path = path
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._entries: deque[_Entry] = deque()
        self.size_bytes = 0
        """Of all that is kept."""

    def __len__(self) -> int:
        """Pictures that are kept."""
        return len(self._entries)

    def open(self) -> None:
        """Make the folder if it is missing, and count what is in it."""
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
        # Whether it can be written to is better known now than when something is to be kept.
        with tempfile.TemporaryFile(dir=self.path):
            pass

    def keep(self, stem: str, suffix: str, data: bytes, beside: bytes = b"") -> Path:
        """Write a picture: whole, or not at all.

        :param beside: written to a ``.json`` of the same name; empty: no such file.
        :returns: its path; another of the same name gets a number.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        size_bytes = len(data) + len(beside)
        self._make_room(size_bytes)
        stem = self._free_stem(stem)
        files = {f"{stem}.json": beside, f"{stem}{suffix}": data} if beside else {f"{stem}{suffix}": data}
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
            reason = f"a picture of {size_bytes} bytes, at most {self._max_bytes} may be kept"
            raise OSError(errno.EFBIG, reason)
        while self._entries and (
            len(self._entries) >= self._max_files or self.size_bytes + size_bytes > self._max_bytes
        ):
            oldest = self._entries[0]
            removed = [self._remove(name) for name in oldest.names]
            if not all(removed):
                # Somebody else tidied up here: count again, rather than remove more than is needed.
                self.open()
                continue
            self._entries.popleft()
            self.size_bytes -= oldest.size_bytes
        disk = os.statvfs(self.path)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < size_bytes + self._min_free_bytes:
            needs = f"{size_bytes} for the picture, {self._min_free_bytes} to be left free"
            raise OSError(errno.ENOSPC, f"the disk is too full: {free_bytes} bytes free, {needs}")

    def _free_stem(self, stem: str) -> str:
        return next(
            name
            for name in _numbered(stem)
            if not any((self.path / f"{name}.{suffix}").exists() for suffix in SUFFIXES)
        )

    def _remove(self, name: str) -> bool:
        """Whether it was there."""
        try:
            (self.path / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _write(self, name: str, content: bytes) -> None:
        """Under another name first, so that nobody sees half a file, not even after a power cut."""
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
