"""Write down the changes of a teaching set, and take them back."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Literal

import msgspec

from incv3d.models.files import sync, write_atomically

FILE = ".changes.json"
MOST_CHANGES = 20
"""How many changes can be taken back; the pictures deleted before them are gone."""
BURST_S = 2.0
"""Pictures added to a class one after the other, at most this far apart, are one change."""
WORDS = {"add": "added {} to {}", "move": "moved {} to {}", "delete": "deleted {} of {}"}


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change: renames of pictures, by their paths in the folder of the set."""

    what: Literal["add", "move", "delete"]
    class_name: str
    renames: tuple[tuple[str | None, str], ...]
    """From and to; None: the picture is new."""
    at_unix_s: float

    @property
    def in_words(self) -> str:
        """What it did, such as ``moved 3 pictures to empty``."""
        count = len(self.renames)
        return WORDS[self.what].format(f"{count} picture{'s' if count > 1 else ''}", self.class_name)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """The content of the file."""

    format: int = 1
    total: int = 0
    """Pictures that were ever added, moved or deleted; an undone change counts as another one."""
    taught: int = 0
    """`total` when a model was taught last."""
    changes: list[Change] = []


class ChangeLog:
    """The last changes of the teaching set in `folder`. Hold the set's lock to change something.

    All methods raise OSError if the disk fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content = self._read()

    @property
    def last(self) -> Change | None:
        """The last change; None: there is none."""
        return self._content.changes[-1] if self._content.changes else None

    @property
    def total(self) -> int:
        """A number that grows with every change."""
        return self._content.total

    @property
    def untaught(self) -> int:
        """How many pictures were changed since a model was taught."""
        return self._content.total - self._content.taught

    def apply(self, change: Change) -> None:
        """Write `change` down, and then make its renames."""
        for _, new in change.renames:
            (self._folder / new).parent.mkdir(exist_ok=True)  # what fails here must not be written down
        self.note(change)
        for old, new in change.renames:
            if old is not None:
                self._rename(old, new)

    def note(self, change: Change) -> None:
        """Write down a change that was made, or will be."""
        last = self.last
        is_burst = (
            last is not None
            and (last.what, last.class_name, change.what) == ("add", change.class_name, "add")
            and 0 <= change.at_unix_s - last.at_unix_s < BURST_S
        )
        changes = self._content.changes
        if last and is_burst:
            changes[-1] = msgspec.structs.replace(change, renames=(*last.renames, *change.renames))
        else:
            changes.append(change)
        self._content.total += len(change.renames)
        forgotten, self._content.changes = changes[:-MOST_CHANGES], changes[-MOST_CHANGES:]
        self._write()
        for each in forgotten:
            if each.what == "delete":
                self._unlink(each)

    def undo(self) -> Change | None:
        """Take back the last change and return it; None: there is none."""
        last = self.last
        if last is None:
            return None
        for old, new in reversed(last.renames):
            if old is None:
                (self._folder / new).unlink(missing_ok=True)
            else:
                # After a killed process, a picture may not have been moved, or be back already.
                self._rename(new, old)
        self._content.changes.pop()
        self._content.total += len(last.renames)
        self._write()
        return last

    def mark_taught(self, total: int) -> None:
        """Note that a model was taught on the set as it was when `total` was so much."""
        self._content.taught = total
        self._write()

    def _rename(self, old: str, new: str) -> None:
        target = self._folder / new
        target.parent.mkdir(exist_ok=True)
        try:
            (self._folder / old).rename(target)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _unlink(self, change: Change) -> None:
        for _, path in change.renames:
            (self._folder / path).unlink(missing_ok=True)

    def _read(self) -> _Content:
        try:
            return msgspec.json.decode((self._folder / FILE).read_bytes(), type=_Content)
        except (FileNotFoundError, NotADirectoryError):
            return _Content()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _Content()  # what could be undone is lost with a damaged file; the pictures are there

    def _write(self) -> None:
        write_atomically(self._folder / FILE, msgspec.json.encode(self._content))
        sync(self._folder)
