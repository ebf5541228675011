"""Find and read image files."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from incv3d.config.address import Address
from incv3d.sources.base import SourceAbsent, SourceError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
LARGEST_FILE = 128 * 1024 * 1024
"""Bytes; a larger file is not read into memory."""


def find_images(path: str) -> list[Path]:
    """Return the image files that `path` names, sorted by name.

    :param path: a file, a folder or a glob pattern.
    :raises SourceAbsent: it names none.
    :raises SourceError: it cannot be read.
    """
    if "://" in path:
        raise SourceAbsent(f"{Address(path)}: not a file; download images first, with curl for example")
    named = Path(path)
    if named.is_file():
        return [named]
    try:
        # Path.glob takes no absolute patterns.
        found = named.iterdir() if named.is_dir() else map(Path, glob.glob(path, recursive=True))  # noqa: PTH207
        images = sorted(each for each in found if _is_image(each))
    except OSError as error:
        raise SourceError(f"{Address(path)}: cannot be read: {error.strerror}") from None
    if not images and not named.exists() and not glob.has_magic(path):
        raise SourceAbsent(f"{Address(path)}: no such file or folder")
    if not images:
        raise SourceAbsent(f"{Address(path)}: no images found ({', '.join(sorted(SUFFIXES))})")
    return images


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def shown_name(path: str | Path) -> str:
    """Return the name of a file as text that can be printed and sent, whatever its encoding."""
    return os.fsencode(path).decode("utf-8", "replace")


def read_image(path: Path) -> bytes:
    """Return the bytes of the file at `path`.

    :raises SourceError: it cannot be read, or is too large for an image.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise SourceError(
                f"{shown_name(path)}: larger than {LARGEST_FILE >> 20} MiB, too large for an image"
            )
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{shown_name(path)}: cannot be read: {error.strerror}") from None
