"""Encode images as JPEGs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import simplejpeg
from PIL import Image

from incv3d.engines.base import ImageArray
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor, encoded_format
from incv3d.images.resize import InputSpec

LARGEST_SENT = 100_000
"""A JPEG of up to this size goes to the browser unchanged."""
IMAGE_SIDE = 720
PREVIEW_SIDE = 320
THUMBNAIL_SIDE = 128
"""The longer side in pixels."""
IMAGE_QUALITY = 75
THUMBNAIL_QUALITY = 70
KEPT_QUALITY = 92
LARGEST_KEPT = 8192
"""A frame that is kept is not reduced in size as it is decoded."""


def encode_jpeg(pixels: ImageArray, quality: int, order: str = "RGB") -> bytes:
    """Return ``(height, width, channels) uint8`` pixels as a JPEG.

    :param order: simplejpeg's name for the order of the channels, such as ``BGRX`` or ``GRAY``.
    """
    subsampling = "Gray" if order == "GRAY" else "420"
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorspace=order, colorsubsampling=subsampling
    )
    return jpeg


def encode_image(frame: Frame, max_pixels: int) -> bytes:
    """Return the camera's whole image, upright, as a JPEG; a small JPEG is returned unchanged.

    :param max_pixels: a larger image is not decoded.
    :raises ImageError: the frame cannot be decoded.
    """
    whole = replace(frame, region=None)
    is_small = len(frame.data) <= LARGEST_SENT and frame.transform == "none"
    if is_small and encoded_format(frame) == "jpeg":
        return bytes(frame.data)
    return _small(whole, IMAGE_SIDE, IMAGE_QUALITY, max_pixels)


def encode_classified(frame: Frame, max_pixels: int) -> bytes:
    """Return the classified part of a frame, upright and in full size, as a JPEG.

    A JPEG that is classified as a whole is returned unchanged.

    :raises ImageError: the frame cannot be decoded.
    """
    is_whole = frame.region is None and frame.transform == "none"
    if is_whole and encoded_format(frame) == "jpeg":
        return bytes(frame.data)
    spec = InputSpec(LARGEST_KEPT, LARGEST_KEPT, 0.0, 1.0, "stretch", 1.0, "bilinear")
    return encode_jpeg(Preprocessor(spec, max_pixels, mode="exact").decode(frame), KEPT_QUALITY)


def encode_preview(frame: Frame, max_pixels: int) -> bytes:
    """Return the classified part of a frame as a JPEG in which a person recognizes what it shows.

    :raises ImageError: the frame cannot be decoded.
    """
    return _small(frame, PREVIEW_SIDE, THUMBNAIL_QUALITY, max_pixels)


def encode_thumbnail(frame: Frame, max_pixels: int) -> bytes:
    """Return a thumbnail, as a JPEG, of the classified part of a frame.

    :raises ImageError: the frame cannot be decoded.
    """
    return _small(frame, THUMBNAIL_SIDE, THUMBNAIL_QUALITY, max_pixels)


def _small(frame: Frame, side: int, quality: int, max_pixels: int) -> bytes:
    # A large JPEG is decoded at a reduced size, at least twice that of a square model input.
    spec = InputSpec(side // 2, side // 2, 0.0, 1.0, "stretch", 1.0, "bilinear")
    pixels = Preprocessor(spec, max_pixels, mode="fast").decode(frame)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    return encode_jpeg(np.asarray(image), quality)
