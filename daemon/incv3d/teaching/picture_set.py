"""Keep the pictures that were captured or added to teach a model: a folder a class, bounded, every change
undoable."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from incv3d.frames import image_format
from incv3d.models.entry import ModelError
from incv3d.models.files import hold_lock, sync
from incv3d.models.taught.head import check_class
from incv3d.teaching.changes import Change, ChangeLog
from incv3d.teaching.errors import TeachingError
from incv3d.teaching.picture_names import picture_name, read_name

MOST_PICTURES = 2000
"""More teach little, and their features take 16 MB of a Raspberry Pi's memory."""
MOST_BYTES = 1024 * 1024 * 1024
MIN_FREE_BYTES = 256 * 1024 * 1024
"""No picture is kept that would leave less than this on the disk."""
DELETED = ".deleted"
LOCK = ".lock"
UNFINISHED = ".part-"
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "bmp": ".bmp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a teaching set."""

    class_name: str
    path: Path
    source: str
    """Where it was captured, or the name of the file that was added."""
    at_unix_s: float
    """When it was taken, or, if that is unknown, added."""
    size_bytes: int

    @property
    def id(self) -> str:
        """Its name, which it keeps when it is moved."""
        return self.path.name


class PictureSet:
    """The pictures under ``taught/NAME/pictures``, as ``CLASS/PICTURE.jpg``.

    Several processes may use it at once: each call looks at the disk, under a lock. A picture appears whole
    or not at all. Every change is a row of renames that is written down first, so that a killed process
    loses nothing and the change can be undone.

    :param folder: created when the first picture is added.
    """

    def __init__(
        self,
        folder: Path,
        most_pictures: int = MOST_PICTURES,
        most_bytes: int = MOST_BYTES,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self.folder = folder
        self._most_pictures = most_pictures
        self._most_bytes = most_bytes
        self._min_free_bytes = min_free_bytes

    def pictures(self, class_name: str | None = None) -> list[Picture]:
        """Return the pictures of a class, or of all classes, the latest first.

        :raises TeachingError: the folder cannot be read.
        """
        with self._errors_explained("read"):
            found = [each for each in self._all() if class_name in (None, each.class_name)]
            return sorted(found, key=lambda each: (each.at_unix_s, each.id), reverse=True)

    def counts(self) -> dict[str, int]:
        """Return the number of pictures of each class that has any, by name.

        :raises TeachingError: the folder cannot be read.
        """
        with self._errors_explained("read"):
            counts: dict[str, int] = {}
            for each in self._all():
                counts[each.class_name] = counts.get(each.class_name, 0) + 1
            return dict(sorted(counts.items()))

    def get(self, picture_id: str) -> Picture:
        """Return a picture.

        :raises TeachingError: there is none with that id.
        """
        with self._errors_explained("read"):
            is_name = picture_id == Path(picture_id).name and picture_id[:1] != "."
            paths = [each / picture_id for each in self._class_folders()] if is_name else []
            found = filter(None, map(_picture, paths))
            return self._get(picture_id, {each.id: each for each in found})

    def class_of(self, data: bytes) -> str:
        """Return the class of the picture with this content; empty: it is not in the set.

        :raises TeachingError: the folder cannot be read.
        """
        with self._errors_explained("read"):
            found = _same(self._all(), hashlib.sha256(data).hexdigest())
            return found.class_name if found else ""

    def add(self, class_name: str, data: bytes, source: str, at_unix_s: float | None) -> Picture:
        """Add an encoded image to a class, which may be new. One that is in the set already is moved there.

        :param source: where it was captured, or the name of its file.
        :param at_unix_s: when it was taken; None: unknown.
        :raises TeachingError: it is no image, the name of the class cannot be used, there are too many
            pictures, or the disk is full.
        """
        format_ = image_format(data)
        if format_ is None:
            raise TeachingError(f"{source}: not an image (JPEG, PNG, WebP or BMP)")
        sha256 = hashlib.sha256(data).hexdigest()
        name = picture_name(source, at_unix_s, sha256) + SUFFIXES[format_]
        with self._changing(class_name) as log:
            there = self._all()
            if same := _same(there, sha256):
                return self._move(log, [same], class_name)[0]
            self._check_room(there, len(data))
            target = self.folder / class_name / name
            self._write(target, data)
            log.note(Change("add", class_name, ((None, _relative(target)),), time.time()))
            return self._get(target.name, {each.id: each for each in self._all()})

    def move(self, picture_ids: Sequence[str], class_name: str) -> None:
        """Move pictures to another class, which may be new.

        :raises TeachingError: there is no such picture, the name of the class cannot be used, or the folder
            cannot be written.
        """
        with self._changing(class_name) as log:
            self._move(log, self._named(picture_ids), class_name)

    def delete(self, picture_ids: Sequence[str]) -> None:
        """Delete pictures.

        :raises TeachingError: there is no such picture, or the folder cannot be written.
        """
        with self._changing() as log:
            found = self._named(picture_ids)
            if found:
                renames = [(_relative(each.path), f"{DELETED}/{each.id}") for each in found]
                log.apply(Change("delete", found[0].class_name, tuple(renames), time.time()))

    def undo(self) -> str:
        """Take back the last change, and return what it was, in words.

        :raises TeachingError: there is none, or the folder cannot be written.
        """
        with self._changing() as log:
            change = log.undo()
            if change is None:
                raise TeachingError("nothing to undo")
            return change.in_words

    def undo_in_words(self) -> str:
        """Return what :meth:`undo` would take back; empty: nothing.

        :raises TeachingError: the folder cannot be read.
        """
        with self._errors_explained("read"):
            last = ChangeLog(self.folder).last
            return last.in_words if last else ""

    def state(self) -> int:
        """Return a number that grows with every change.

        :raises TeachingError: the folder cannot be read.
        """
        with self._errors_explained("read"):
            return ChangeLog(self.folder).total

    def changes(self) -> int:
        """Return how many pictures were added, moved or deleted since :meth:`mark_taught`.

        :raises TeachingError: the folder cannot be read.
        """
        with self._errors_explained("read"):
            return ChangeLog(self.folder).untaught

    def mark_taught(self, state: int) -> None:
        """Note that a model was taught on the pictures as they were at `state`.

        :raises TeachingError: the folder cannot be written.
        """
        if self.folder.is_dir():
            with self._changing() as log:
                log.mark_taught(state)

    def _class_folders(self) -> list[Path]:
        try:
            return sorted(each for each in self.folder.iterdir() if each.is_dir() and each.name[0] != ".")
        except FileNotFoundError:
            return []

    def _all(self) -> list[Picture]:
        return [
            found
            for each in self._class_folders()
            for path in _content(each)
            if path.name[0] != "." and (found := _picture(path))
        ]

    def _named(self, picture_ids: Sequence[str]) -> list[Picture]:
        there = {each.id: each for each in self._all()}
        return [self._get(each, there) for each in dict.fromkeys(picture_ids)]

    def _get(self, picture_id: str, there: dict[str, Picture]) -> Picture:
        if picture_id not in there:
            raise TeachingError(f"no picture {picture_id[:100]!r} in the teaching set; it may just be gone")
        return there[picture_id]

    def _move(self, log: ChangeLog, pictures: list[Picture], class_name: str) -> list[Picture]:
        target = self.folder / class_name
        renames = [
            (_relative(each.path), f"{class_name}/{each.id}")
            for each in pictures
            if each.class_name != class_name
        ]
        if renames:
            log.apply(Change("move", class_name, tuple(renames), time.time()))
        return [replace(each, class_name=class_name, path=target / each.id) for each in pictures]

    def _check_room(self, there: list[Picture], size_bytes: int) -> None:
        if len(there) >= self._most_pictures:
            raise TeachingError(
                f"the teaching set has {len(there)} pictures, the most it can have; delete some"
            )
        held = sum(each.size_bytes for each in there)
        if held + size_bytes > self._most_bytes:
            raise TeachingError(
                f"the teaching set has {held / 1e6:.0f} of {self._most_bytes / 1e6:.0f} MB that it can have; "
                f"delete some, or teach from a folder of your own, which is not copied"
            )
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free < size_bytes + self._min_free_bytes:
            raise TeachingError(
                f"{self.folder}: the disk is too full: {free / 1e6:.0f} MB free, and "
                f"{self._min_free_bytes / 1e6:.0f} MB must remain"
            )

    def _write(self, target: Path, data: bytes) -> None:
        target.parent.mkdir(exist_ok=True)
        unfinished = self.folder / f"{UNFINISHED}{target.name}"
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(target)
            sync(target.parent)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _changing(self, class_name: str | None = None) -> Iterator[ChangeLog]:
        """Hold the lock, and yield the log of changes."""
        if class_name is not None:
            try:
                check_class(class_name)
            except ModelError as error:
                raise TeachingError(str(error)) from None
        with self._errors_explained("written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with hold_lock(self.folder / LOCK):
                for left in self.folder.glob(f"{UNFINISHED}*"):  # of killed processes: this one has the lock
                    left.unlink()
                yield ChangeLog(self.folder)
                for each in self.folder.iterdir():
                    if each.is_dir() and each.name[0] != ".":
                        _remove_if_empty(each)

    @contextlib.contextmanager
    def _errors_explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TeachingError(
                f"{error.filename or self.folder}: cannot be {done}: {error.strerror}"
            ) from None


def _same(pictures: list[Picture], sha256: str) -> Picture | None:
    """Return the picture with this content; None: it is not among them."""
    return next((each for each in pictures if each.path.stem.endswith(f"_{sha256[:16]}")), None)


def _content(folder: Path) -> list[Path]:
    """Return what is in the folder of a class; nothing if another process has just emptied and removed it."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _picture(path: Path) -> Picture | None:
    """Return the picture at `path`; None: it was just moved, or is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    found = read_name(path)
    source, at = (found.source, found.at_unix_s) if found else (path.stem, None)
    return Picture(path.parent.name, path, source, status.st_mtime if at is None else at, status.st_size)


def _relative(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
