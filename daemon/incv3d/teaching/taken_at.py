"""Find out when a picture was taken."""

from __future__ import annotations

import io
import warnings
from datetime import UTC, datetime

FORMAT = "%Y:%m:%d %H:%M:%S"


def time_in_exif(data: bytes) -> float | None:
    """Return when an encoded image was taken, by its EXIF, in seconds since 1970; None: unknown.

    EXIF seldom has a time zone; for the distance between two pictures of a camera it does not matter. Its
    other time, ``DateTime``, is not read: programs that change many pictures at once give them all the same.
    """
    from PIL import ExifTags, Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow omits EXIF that it cannot read
            with Image.open(io.BytesIO(data)) as image:
                details = image.getexif().get_ifd(ExifTags.IFD.Exif)
        text = details.get(ExifTags.Base.DateTimeOriginal, "")
        return datetime.strptime(str(text).strip("\0 "), FORMAT).replace(tzinfo=UTC).timestamp()
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, OverflowError):
        return None  # Pillow raises all of these on a damaged image or damaged EXIF
