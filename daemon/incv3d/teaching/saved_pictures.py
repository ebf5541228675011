"""Teach from the pictures that the daemon saved of events, by the labels in their file names."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from incv3d.frames import Frame, Region, Transform
from incv3d.images.encode import encode_classified
from incv3d.images.preprocess import ImageError
from incv3d.images.saved_facts import read_facts
from incv3d.models.taught.head import UNKNOWN
from incv3d.teaching.errors import TeachingError, UnusableSet
from incv3d.teaching.picture_names import NameFacts, read_name
from incv3d.teaching.picture_set import PictureSet

SUFFIXES = (".jpg", ".png", ".webp", ".bmp")


class _Place(msgspec.Struct):
    """What was classified of a saved picture."""

    region: Region
    transform: Transform = "none"


def add_saved(
    folder: Path, pictures: PictureSet, max_pixels: int, progress: Callable[[int, int], None]
) -> int:
    """Add the saved pictures in `folder` to a teaching set, and return how many were added.

    They are copied, because the daemon deletes the oldest of its folder; of a picture of a region, only that.
    One that is in the set already stays in its class, which the owner may have corrected; `unknown` is no
    class.

    :raises UnusableSet: there are none.
    :raises TeachingError: the folder cannot be read, or the set cannot be written.
    """
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    except OSError as error:
        raise TeachingError(f"{folder}: cannot be read: {error.strerror}") from None
    saved = [(path, told) for path in files if (told := read_name(path)) and told.label not in ("", UNKNOWN)]
    if not saved:
        raise UnusableSet(f"{folder} has no pictures saved of events (saving.folder)")
    added = 0
    for done, (path, told) in enumerate(saved):
        progress(done, len(saved))
        with contextlib.suppress(ImageError):  # a damaged one teaches nothing
            added += _add(path, told, pictures, max_pixels)
    progress(len(saved), len(saved))
    return added


def _add(path: Path, told: NameFacts, pictures: PictureSet, max_pixels: int) -> bool:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False  # the daemon has just deleted it
    except OSError as error:
        raise TeachingError(f"{path}: cannot be read: {error.strerror}") from None
    facts = read_facts(path, data)
    if facts.get("region"):
        now = time.monotonic()
        frame = Frame(told.source, data, None, received=now, captured=now)
        data = encode_classified(_placed(frame, facts), max_pixels)
    if pictures.class_of(data):
        return False
    pictures.add(_label(told, facts), data, told.source, told.at_unix_s)
    return True


def _placed(frame: Frame, facts: dict[str, Any]) -> Frame:
    """Return the frame with the region, and with the transform that a JPEG has in its EXIF already.

    :raises ImageError: what the daemon wrote is damaged.
    """
    told = {"region": facts["region"]}
    if bytes(frame.data[:2]) != b"\xff\xd8":
        told["transform"] = facts.get("transform", "none")
    try:
        placed = msgspec.convert(told, _Place)
    except msgspec.ValidationError as error:
        raise ImageError(f"what is said of it is damaged: {error}") from None
    return replace(frame, region=placed.region, transform=placed.transform)


def _label(told: NameFacts, facts: dict[str, Any]) -> str:
    """Return the label in the file's name, as the model writes it, unless the file was renamed."""
    labels = [str(each.get("label", "")) for each in facts.get("labels", ()) if isinstance(each, dict)]
    return next((each for each in labels if _in_name(each) == told.label), told.label)


def _in_name(label: str) -> str:
    return re.sub(r"[\W_]+", "-", label).strip("-")
