"""A frame as a picture for people: decoded, with its labels written on it, as a JPEG file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Prediction
from incv3d.preprocess import Preprocessor
from incv3d.resizing import InputSpec
from incv3d.sessions.base import Picture

JPEG_QUALITY = 90


class SnapshotError(Incv3dError):
    """A picture cannot be written."""


def picture_of(frame: Frame, max_pixels: int) -> Picture:
    """The pixels of `frame` in full size: ``(height, width, 3) uint8`` RGB.

    :raises PictureError: when it cannot be decoded.
    """
    any_size = InputSpec(1, 1, 0.0, 1.0, "stretch", 1.0, "bilinear")
    return Preprocessor(any_size, max_pixels, mode="exact").decode(frame)


def with_labels(image: Image.Image, predictions: Sequence[Prediction]) -> Image.Image:
    """`image` with a line for each prediction in its upper left corner."""
    if not predictions:
        return image
    lines = "\n".join(f"{prediction.score:.3f} {prediction.label}" for prediction in predictions)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(10, image.height // 30))
    margin = max(2, image.height // 100)
    box = draw.multiline_textbbox((2 * margin, 2 * margin), lines, font=font)
    draw.rectangle((margin, margin, box[2] + margin, box[3] + margin), fill=(0, 0, 0))
    draw.multiline_text((2 * margin, 2 * margin), lines, fill=(255, 255, 255), font=font)
    return image


def save_jpeg(picture: Picture, predictions: Sequence[Prediction], path: str) -> None:
    """Write `picture` with its labels to `path`: whole, or not at all.

    :raises SnapshotError: when it cannot be written there.
    """
    image = with_labels(Image.fromarray(picture.copy()), predictions)
    target = Path(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            image.save(file, "JPEG", quality=JPEG_QUALITY)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise SnapshotError(f"{path}: cannot be written: {error.strerror or error}") from None
