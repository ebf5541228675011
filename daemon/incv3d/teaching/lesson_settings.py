"""Remember how a model was taught, so that it can be taught once more without saying it again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from incv3d.models.files import write_atomically
from incv3d.teaching.errors import TeachingError

FILE = "set.json"


class LessonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model was taught last."""

    format: int = 1
    base: str = ""
    fit: Literal["stretch", "crop"] | None = None
    """As it was asked for; None: that of the taught model."""
    folder: str = ""
    """The owner's folder of pictures; empty: only own pictures."""
    test: str = ""
    """The owner's folder of pictures that only test; empty: none."""


def read_settings(directory: Path) -> LessonSettings:
    """Return what is recorded in the folder of a taught model; defaults if nothing is.

    :raises TeachingError: it is damaged.
    """
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=LessonSettings)
    except (FileNotFoundError, NotADirectoryError):
        return LessonSettings()
    except OSError as error:
        raise TeachingError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TeachingError(f"{path}: damaged ({error}); remove it, and teach again") from None


def write_settings(directory: Path, settings: LessonSettings) -> None:
    """Write it down.

    :raises TeachingError: it cannot be written.
    """
    try:
        write_atomically(directory / FILE, msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
    except OSError as error:
        raise TeachingError(f"{directory / FILE}: cannot be written: {error.strerror}") from None
