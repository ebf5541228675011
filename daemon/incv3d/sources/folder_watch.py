"""Find the images that appeared in a folder since the last scan, however large the folder grows.

The folder is polled, because the kernel does not report changes made over NFS or SMB.
"""

from __future__ import annotations

import glob
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from incv3d.sources.base import SourceAbsent, SourceError
from incv3d.sources.image_files import SUFFIXES

LOG = logging.getLogger(__name__)
CLOCK_S = 2.0
"""The resolution of a coarse file system clock: a folder is listed again until its change is this old."""
RELIST_S = 60.0
"""After this time a folder is listed again even if its time did not change."""
MOST_COMPARED = 256
"""With at most this many images, one that is rewritten under its old name counts as new."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What distinguishes one version of a file from another."""

    inode: int
    modified_ns: int
    size_bytes: int


@dataclass(slots=True)
class _Folder:
    """A folder as it was last listed."""

    modified_ns: int = -1
    listed_at: float = 0.0
    subfolders: list[str] = field(default_factory=list)
    known: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Hashes of the names of its images: only 8 bytes each, because there can be very many."""

    def news(self, names: Sequence[str]) -> list[str]:
        """Return those of `names` that are new, and remember all of them."""
        hashes = np.fromiter((hash(name) for name in names), np.int64, len(names))
        is_new = ~np.isin(hashes, self.known)
        self.known = hashes
        return [name for name, new in zip(names, is_new.tolist(), strict=True) if new]


class FolderWatch:
    """Watches a folder and its subfolders, one file, or the files that match a pattern.

    Hidden files, which some FTP servers write first, and links to folders are skipped.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_empty = False
        """Whether the folder was empty at the last scan, as when a share is not mounted."""
        self._folders: dict[str, _Folder] = {}
        self._compared: dict[str, FileState] = {}

    def look(self) -> Iterator[tuple[str, FileState]]:
        """Yield the images that were added or rewritten since the last scan; the first scan yields all.

        :raises SourceAbsent: there is no such folder.
        :raises SourceError: it cannot be read.
        """
        new = list(self._walk() if self._is_folder() else self._listed())
        others: list[str] = []
        if sum(len(folder.known) for folder in self._folders.values()) > MOST_COMPARED:
            self._compared.clear()
        else:
            others = list(self._compared.keys() - set(new))
            self._compared.update((path, found) for path in new if (found := file_state(path)))
        for path in new:
            if found := self._compared.get(path) or file_state(path):
                yield path, found
        for path in others:
            found = file_state(path)
            if found is None:
                del self._compared[path]
            elif found != self._compared[path]:
                self._compared[path] = found
                yield path, found

    def _is_folder(self) -> bool:
        path = Path(self.path)
        if path.is_dir():
            return True
        if glob.has_magic(self.path):
            return False
        if path.suffix.lower() not in SUFFIXES or not path.parent.is_dir():
            raise SourceAbsent(f"{self.path}: no such folder")
        return False

    def _listed(self) -> list[str]:
        """Return the new images that match the path, which is not a folder."""
        found = glob.glob(self.path, recursive=True) if glob.has_magic(self.path) else [self.path]  # noqa: PTH207
        folder = self._folders.setdefault("", _Folder())
        return folder.news([each for each in found if _is_image(Path(each).name) and Path(each).is_file()])

    def _walk(self) -> Iterator[str]:
        """Yield the new images of all folders that changed."""
        there = set()
        waiting = [self.path]
        while waiting:
            path = waiting.pop()
            there.add(path)
            folder = self._folders.setdefault(path, _Folder())
            try:
                names = self._new_names(path, folder)
            except OSError as error:
                if path == self.path:
                    raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
                LOG.debug("%s: %s", path, error.strerror)  # removed meanwhile, or not readable
                continue
            yield from (f"{path}/{name}" for name in names)
            waiting += [f"{path}/{name}" for name in folder.subfolders]
        for path in self._folders.keys() - there:
            del self._folders[path]

    def _new_names(self, path: str, folder: _Folder) -> list[str]:
        modified_ns = Path(path).stat().st_mtime_ns
        now = time.time()
        is_recent = folder.listed_at - modified_ns / 1e9 < CLOCK_S
        if modified_ns == folder.modified_ns and not is_recent and 0 <= now - folder.listed_at < RELIST_S:
            return []
        names, subfolders = _list(path)
        if path == self.path:
            self.is_empty = not names and not subfolders
            if self.is_empty:
                return []  # its content stays known: a share may be unmounted for a while
        folder.modified_ns, folder.listed_at = modified_ns, now
        folder.subfolders = subfolders
        return folder.news(names)


def _list(path: str) -> tuple[list[str], list[str]]:
    """Return the names of the images and of the subfolders in the folder at `path`."""
    names, subfolders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                subfolders.append(entry.name)
            elif _is_image(entry.name):
                names.append(entry.name)
    return names, subfolders


def file_state(path: str) -> FileState | None:
    """Return the state of the file at `path`; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib keeps every name that it has seen in a table
    except OSError:
        return None
    return FileState(found.st_ino, found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(tuple(SUFFIXES))
