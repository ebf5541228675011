"""Decode JPEGs strictly, with a second attempt for those that are merely unusual.

libjpeg emits the same warnings for oddities (a version of JFIF, the scan parameters of Samsung's phones) as
for truncation and damage. A JPEG with a warning is therefore decoded again from a normalized copy: if it was
merely unusual, this succeeds without a warning and yields the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypedDict

import numpy as np
import simplejpeg

from incv3d.engines.base import ImageArray
from incv3d.images import jpeg
from incv3d.images.jpeg import END, Data, Header, JpegError

Decode = Callable[[Data], ImageArray]


class DecodingOptions(TypedDict, total=False):
    """Keyword arguments of simplejpeg's ``decode_jpeg``."""

    fastdct: bool
    fastupsample: bool
    min_width: int
    min_height: int
    min_factor: float


EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
"""libjpeg's warning about bytes outside any segment."""
UNKNOWN_SUBSAMPLING = "subsampling"
"""A word in libjpeg-turbo's error for unusual sampling factors."""
STRAY_BYTES = 16
"""Maximum number of stray bytes that cameras write between an image and its end marker."""
REPLACED = STRAY_BYTES + 8
"""Number of bytes changed at the end of an image to prove that they belong to it: more than a decoder reads
ahead."""
MOST_BLOCKS = 10
"""The limit of the unit in which a scan encodes its components (ITU-T T.81, B.2.3)."""
FILLING = b"\x55\xaa\x33\xcc" * 16
"""Bytes that change an image if they are decoded as part of it."""


def decode(data: Data, header: Header, pillow: Decode, options: DecodingOptions) -> ImageArray:
    """Return the pixels as stored: ``(height, width, 3) uint8`` RGB.

    :param pillow: decodes with Pillow, which supports what libjpeg-turbo's own interface does not: all forms
        of CMYK and all sampling factors. It accepts damaged images; raises :class:`JpegError`.
    :param options: for simplejpeg; Pillow decodes slowly and at full size.
    :raises JpegError: the image is damaged, truncated or of an unsupported kind.
    :raises MemoryError: out of memory.
    """
    if header.precision != 8:
        raise JpegError(f"unsupported JPEG: {header.precision} bits per channel; save it with 8")
    strict: Decode = partial(simplejpeg.decode_jpeg, **options)
    lenient: Decode = partial(simplejpeg.decode_jpeg, strict=False, **options)
    if len(header.components) == 4:
        strict, lenient = partial(_cmyk, header=header, pillow=pillow), pillow
    try:
        return strict(data)
    except ValueError as error:
        complaint = f"damaged JPEG: {error}"
    copy = jpeg.canonical_copy(data, header)
    cannot_be_checked = header.frame in jpeg.ARITHMETIC and not jpeg.has_end(data)
    if cannot_be_checked or not jpeg.is_complete(copy, header):
        raise JpegError(complaint)
    if UNKNOWN_SUBSAMPLING in complaint:
        return _unnamed(copy, header, pillow)
    try:
        return strict(copy)
    except ValueError as error:
        if (found := EXTRANEOUS.search(str(error))) is None:
            raise JpegError(complaint) from None
    # Bytes are missing inside an image with restart markers, or a few before its end: webcams send such
    # frames.
    surplus, marker = int(found[1]), int(found[2], 16)
    if marker != END:
        return _whole(copy, lenient, complaint)
    if surplus <= STRAY_BYTES and jpeg.has_end(data):
        return lenient(copy)
    for shorter in jpeg.strip_padding(copy):
        try:
            return strict(shorter)
        except ValueError:
            pass  # the padding replaces a part of the image
    raise JpegError(complaint)


def is_sound(data: Data) -> bool:
    """Return whether a strict decoder accepts a JPEG, by decoding it at the smallest size."""
    try:
        simplejpeg.decode_jpeg(data, fastdct=True, min_height=1, min_width=1, min_factor=8)
    except (ValueError, MemoryError):
        return False
    return True


def _cmyk(data: Data, header: Header, pillow: Decode) -> ImageArray:
    """Decode a CMYK JPEG with Pillow, if libjpeg-turbo finds no fault with it."""
    simplejpeg.decode_jpeg(data, "CMYK", min_height=1, min_width=1, min_factor=8)
    return pillow(jpeg.canonical_copy(data, header))


def _unnamed(copy: bytes, header: Header, pillow: Decode) -> ImageArray:
    """Decode a JPEG with sampling factors that libjpeg-turbo does not support."""
    most = [max(factors) for factors in zip(*header.sampling, strict=True)]
    are_whole = all(
        factor and not high % factor
        for factors in header.sampling
        for high, factor in zip(most, factors, strict=True)
    )
    if not are_whole or sum(across * down for across, down in header.sampling) > MOST_BLOCKS:
        raise JpegError(f"unsupported JPEG: subsampling {header.subsampling}; save it with 4:2:0")
    return _whole(copy, pillow, "damaged JPEG: it ends too early")


def _whole(copy: bytes, lenient: Decode, complaint: str) -> ImageArray:
    """Decode with a lenient decoder, and raise JpegError if the image is truncated.

    Bytes appended to a complete image do not change its pixels, but bytes that replace its last ones do. In a
    truncated image, appended bytes do change pixels; if it was filled up, replaced bytes do not.
    """
    for shorter in jpeg.strip_padding(copy):
        encoded, end = shorter[:-2], shorter[-2:]
        pixels = lenient(shorter)
        added = lenient(encoded + FILLING + end)
        if np.array_equal(pixels, added):
            at = max(len(encoded) - REPLACED, jpeg.last_scan(shorter))
            at -= encoded[at - 1] == 0xFF  # keeps 0xFF 0x00 together: 0xFF alone would be a marker
            changed = lenient(encoded[:at] + FILLING + end)
            if not np.array_equal(pixels, changed):
                return pixels
    raise JpegError(complaint)
