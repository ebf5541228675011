"""Find the pictures of a teaching set on disk: a folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from incv3d.models.taught.head import check_classes
from incv3d.teaching.errors import TeachingError, UnusableSet

Item = TypeVar("Item")
MOST_IMAGES = 10_000
"""More are not read: they would teach little, and take hours on a Raspberry Pi."""
JUNK = {"thumbs.db", "desktop.ini", "icon\r"}
"""What file managers leave in folders, besides hidden files."""
JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin"}
NEEDED = "teaching needs a folder with a folder of pictures for each class, two or more"
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Names of folders that divide a data set; they are no classes."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that should be a picture."""

    path: Path
    label: str
    """Its class."""
    name: str
    """Its path below the folder of the set, as text that can be printed."""
    folder: str = ""
    """Its sub-folder in the folder of the class."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What a folder holds."""

    files: tuple[ImageFile, ...]
    """By class and name."""
    ignored: tuple[str, ...] = ()
    """What was left out, with the reason."""


def find_files(folder: Path, *, least_classes: int = 2, most: int = MOST_IMAGES) -> FoundFiles:
    """Return the files of each class of the teaching set in `folder`; whether they are pictures shows later.

    Hidden files are skipped, sub-folders are searched, and links are followed.

    :param least_classes: 1 for pictures that only test.
    :raises UnusableSet: there is no such folder, or it has too few classes.
    :raises TeachingError: it cannot be read.
    :raises ModelError: a class has a name that is not allowed.
    """
    shown = printable(folder)
    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise UnusableSet(f"{shown}: {problem}; {NEEDED}")
    try:
        entries = sorted(each for each in folder.iterdir() if not _is_junk(each.name))
        by_class = {printable(each.name): list(_walk(each)) for each in entries if each.is_dir()}
    except OSError as error:
        where = printable(error.filename or folder)
        raise TeachingError(f"{where}: cannot be read: {error.strerror}") from None
    loose = [printable(each.name) for each in entries if not each.is_dir()]
    _check_classes(shown, by_class, len(loose), least_classes)
    ignored = [f"{name}: an empty folder" for name, paths in by_class.items() if not paths]
    if loose:
        ignored.append(f"{len(loose)} files that are in no class, such as {loose[0]}")
    total = sum(map(len, by_class.values()))
    files: list[ImageFile] = []
    for name, paths in by_class.items():
        taken = evenly(paths, max(1, most * len(paths) // total)) if total > most else paths
        if len(taken) < len(paths):
            ignored.append(f"{name}: {len(paths) - len(taken)} of {len(paths)} files; {most} are read in all")
        files += [_image_file(folder, name, path) for path in taken]
    return FoundFiles(tuple(files), tuple(ignored))


def printable(path: str | Path) -> str:
    """Return a file's name as text that can be printed, whatever its encoding."""
    return os.fsencode(path).decode("utf-8", "replace")


def _check_classes(shown: str, by_class: Mapping[str, Sequence[Path]], loose: int, least: int) -> None:
    classes = [name for name, paths in by_class.items() if paths]
    if not classes:
        there = f"{loose} files, but no folders with files" if loose else "no files"
        raise UnusableSet(f"{shown} has {there}; {NEEDED}")
    parts = [name for name in classes if name.casefold() in PARTS]
    if len(parts) == len(classes):
        train = next((name for name in parts if name.casefold().startswith("train")), parts[0])
        raise UnusableSet(
            f"{shown} has parts of a data set, {', '.join(parts)}, instead of classes: "
            f"teach from {shown}/{train}; --test takes another part"
        )
    if len(classes) < least:
        inside = {path.parent for path in by_class[classes[0]]}
        deeper = f"; if the folders in it are the classes: incv3d teach {shown}/{classes[0]}"
        raise UnusableSet(
            f"{shown} has only one class, `{classes[0]}`; teaching needs two or more: "
            "pictures of anything else can be the other, in a folder `other`"
            f"{deeper if len(inside) > 1 else ''}"
        )
    if least > 1:
        check_classes(tuple(classes))


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.casefold() in JUNK | JUNK_FOLDERS


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder` by name. A folder that links to one above it is not entered again."""

    def fail(error: OSError) -> None:
        raise error

    entered = set()
    for where, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(each for each in folders if not _is_junk(each))
        yield from (Path(where, name) for name in sorted(names) if not _is_junk(name))


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return `most` of the items, spread evenly: the first thousand pictures may all be of one day."""
    return [items[at * len(items) // most] for at in range(most)]


def _image_file(folder: Path, label: str, path: Path) -> ImageFile:
    relative = path.relative_to(folder)
    return ImageFile(path, label, printable(relative), "/".join(map(printable, relative.parts[1:-1])))
