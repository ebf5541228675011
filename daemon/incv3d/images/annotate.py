"""Draw regions and labels on a frame and save it as a JPEG file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from incv3d.engines.base import ImageArray
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Prediction, Region
from incv3d.images.encode import encode_jpeg
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec

JPEG_QUALITY = 90


class SnapshotError(Incv3dError):
    """An image cannot be written."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The text to write on an image, for one region or for all of it."""

    predictions: tuple[Prediction, ...] = ()
    name: str = ""
    """The name of the region, if any."""
    region: Region | None = None
    """None: the whole image, without a box."""

    @property
    def lines(self) -> list[str]:
        """The text, one item per line."""
        labels = [f"{prediction.score:.3f} {prediction.label}" for prediction in self.predictions]
        return [self.name, *labels] if self.name else labels


def decode_image(frame: Frame, max_pixels: int) -> ImageArray:
    """Return the pixels of `frame` in full size: ``(height, width, 3) uint8`` RGB.

    :raises ImageError: the frame cannot be decoded.
    """
    any_size = InputSpec(1, 1, 0.0, 1.0, "stretch", 1.0, "bilinear")
    return Preprocessor(any_size, max_pixels, mode="exact").decode(frame)


def draw_labels(image: Image.Image, seen: Sequence[Annotation]) -> Image.Image:
    """Draw a box around each region, with its text in the upper left corner, on `image`; return `image`."""
    draw = ImageDraw.Draw(image)
    size = max(10, image.height // 30)
    margin = max(2, size // 4)
    font = ImageFont.load_default(size=size)
    line = max(2, image.height // 240)
    for each in seen:
        if each.region:
            box = each.region.box(*image.size)
            # Yellow with a black border is visible on any background.
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
    """Write `text` in white on black below and right of `corner`, moved left and up as far as needed to
    fit."""
    _, _, width, height = draw.multiline_textbbox((0, 0), text, font=font)
    left, top = (
        max(0, min(start + margin, side - round(length) - 3 * margin))
        for start, side, length in zip(corner, size, (width, height), strict=True)
    )
    draw.rectangle((left, top, left + width + 2 * margin, top + height + 2 * margin), fill=(0, 0, 0))
    draw.multiline_text((left + margin, top + margin), text, fill=(255, 255, 255), font=font)


def save_jpeg(pixels: ImageArray, seen: Sequence[Annotation], path: str) -> None:
    """Write an annotated copy of `pixels` to `path`, atomically.

    :raises SnapshotError: the file cannot be written.
    """
    image = draw_labels(Image.fromarray(pixels.copy()), seen)
    target = Path(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode_jpeg(np.asarray(image), JPEG_QUALITY))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise SnapshotError(f"{path}: cannot be written: {error.strerror or error}") from None
