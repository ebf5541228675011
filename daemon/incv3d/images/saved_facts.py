"""Read what the daemon wrote about an image that it saved of an event."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any


def read_facts(path: Path, data: bytes) -> dict[str, Any]:
    """Return what the daemon wrote about an image, into its EXIF or beside it; empty: nothing.

    :param data: the content of the file.
    """
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_comment(data) or path.with_suffix(".json").read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def _comment(data: bytes) -> bytes:
    """Return the comment in the EXIF of an image, without its first 8 bytes; empty: there is none."""
    from PIL import ExifTags, Image

    with contextlib.suppress(OSError, ValueError, SyntaxError, TypeError, KeyError):
        with Image.open(io.BytesIO(data)) as image:
            comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
        return bytes(comment)[8:]
    return b""
