"""A frame as a picture for people: decoded, with its regions and its labels drawn on it, as a JPEG file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from incv3d.engines.base import ImageArray
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Prediction, Region
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec

JPEG_QUALITY = 90


class SnapshotError(Incv3dError):
    """A picture cannot be written."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is written on a picture, at one region or on all of it."""

    predictions: tuple[Prediction, ...] = ()
    name: str = ""
    """The region's; empty: there is none."""
    region: Region | None = None
    """None: the whole picture, around which no box is drawn."""

    @property
    def lines(self) -> list[str]:
        """The text, line by line."""
        labels = [f"{prediction.score:.3f} {prediction.label}" for prediction in self.predictions]
        return [self.name, *labels] if self.name else labels


def picture_of(frame: Frame, max_pixels: int) -> ImageArray:
    """The pixels of `frame` in full size: ``(height, width, 3) uint8`` RGB.

    :raises PictureError: when it cannot be decoded.
    """
    any_size = InputSpec(1, 1, 0.0, 1.0, "stretch", 1.0, "bilinear")
    return Preprocessor(any_size, max_pixels, mode="exact").decode(frame)


def draw_labels(image: Image.Image, seen: Sequence[Annotation]) -> Image.Image:
    """`image` with a box around each region, and what is seen there in its upper left corner."""
    draw = ImageDraw.Draw(image)
    size = max(10, image.height // 30)
    margin = max(2, size // 4)
    font = ImageFont.load_default(size=size)
    line = max(2, image.height // 240)
    for each in seen:
        if each.region:
            box = each.region.box(*image.size)
            # Black around yellow can be seen on everything.
            draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(0, 0, 0), width=2 * line)
            draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(255, 220, 0), width=line)
    for each in seen:
        if each.lines:
            left, top = each.region.box(*image.size)[:2] if each.region else (0, 0)
            _write(draw, font, "\n".join(each.lines), (left, top), margin, image.size)
    return image


def _write(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    text: str,
    corner: tuple[int, int],
    margin: int,
    size: tuple[int, int],
) -> None:
    """Write `text` in white on black right below `corner`; what would not fit there moves left and up."""
    _, _, width, height = draw.multiline_textbbox((0, 0), text, font=font)
    left, top = (
        max(0, min(start + margin, side - round(length) - 3 * margin))
        for start, side, length in zip(corner, size, (width, height), strict=True)
    )
    draw.rectangle((left, top, left + width + 2 * margin, top + height + 2 * margin), fill=(0, 0, 0))
    draw.multiline_text((left + margin, top + margin), text, fill=(255, 255, 255), font=font)


def save_jpeg(picture: ImageArray, seen: Sequence[Annotation], path: str) -> None:
    """Write `picture` with what is seen on it to `path`: whole, or not at all.

    :raises SnapshotError: when it cannot be written there.
    """
    image = draw_labels(Image.fromarray(picture.copy()), seen)
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
