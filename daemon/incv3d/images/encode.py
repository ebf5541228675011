"""Pictures for the page: small JPEGs, whatever the camera delivers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import simplejpeg
from PIL import Image

from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor, encoded_format
from incv3d.images.resize import InputSpec

LARGEST_SENT = 100_000
"""Bytes of a JPEG that goes to the browser as it came."""
PICTURE_SIDE = 720
THUMBNAIL_SIDE = 128
"""The longer side, pixels."""
PICTURE_QUALITY = 75
THUMBNAIL_QUALITY = 70


def picture(frame: Frame, max_pixels: int) -> bytes:
    """The JPEG of all that the camera saw, upright; as it came, where that is one and small.

    :param max_pixels: a larger picture is not decoded.
    :raises PictureError: when it cannot be decoded.
    """
    whole = replace(frame, region=None)
    is_small = len(frame.data) <= LARGEST_SENT and frame.transform == "none"
    if is_small and encoded_format(frame) == "jpeg":
        return bytes(frame.data)
    return _small(whole, PICTURE_SIDE, PICTURE_QUALITY, max_pixels)


def thumbnail(frame: Frame, max_pixels: int) -> bytes:
    """A little JPEG of what was classified: of a region, that alone.

    :raises PictureError: when it cannot be decoded.
    """
    return _small(frame, THUMBNAIL_SIDE, THUMBNAIL_QUALITY, max_pixels)


def _small(frame: Frame, side: int, quality: int, max_pixels: int) -> bytes:
    # A large JPEG is decoded at a fraction of its size, twice that of a square model input at least.
    spec = InputSpec(side // 2, side // 2, 0.0, 1.0, "stretch", 1.0, "bilinear")
    pixels = Preprocessor(spec, max_pixels, mode="fast").decode(frame)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return jpeg
