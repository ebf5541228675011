"""Convert raw YUV, as cameras send it, to RGB: packed 4:2:2 and planar 4:2:0, without padding.

Layouts follow the kernel's V4L2 documentation (pixel formats, YUV formats).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from incv3d.frames import Colours, YuvEncoding

Plane = npt.NDArray[np.uint8]

PACKED: dict[YuvEncoding, tuple[int, int, int]] = {
    "yuyv": (0, 1, 3),
    "yvyu": (0, 3, 1),
    "uyvy": (1, 0, 2),
    "vyuy": (1, 2, 0),
}
"""Offsets of the first luma, Cb and Cr in the four bytes of two pixels; the second luma is two bytes
later."""
PLANAR: dict[YuvEncoding, bool] = {"yu12": False, "yv12": True}
"""Formats with three planes; whether Cr comes before Cb."""
SEMI_PLANAR: dict[YuvEncoding, bool] = {"nv12": False, "nv21": True}
"""Formats with one plane of luma and one of chroma pairs; whether Cr comes first."""
WEIGHTS: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
}
"""The weights of red and of blue in luma."""


def planes(encoding: YuvEncoding, width: int, height: int) -> list[tuple[int, int]]:
    """Return the rows and bytes per row of each plane of an image, in order."""
    chroma_width, chroma_height = (width + 1) // 2, (height + 1) // 2
    if encoding in PACKED:
        return [(height, 4 * chroma_width)]
    if encoding in PLANAR:
        return [(height, width), (chroma_height, chroma_width), (chroma_height, chroma_width)]
    return [(height, width), (chroma_height, 2 * chroma_width)]


def size_bytes(encoding: YuvEncoding, width: int, height: int) -> int:
    """Return the size of an image in bytes."""
    return sum(rows * row_bytes for rows, row_bytes in planes(encoding, width, height))


def to_rgb(
    data: bytes | memoryview, encoding: YuvEncoding, width: int, height: int, colours: Colours
) -> Plane:
    """Return the pixels of `data`, whose length is :func:`size_bytes`: ``(height, width, 3) uint8`` RGB."""
    luma, blue, red = _split(np.frombuffer(data, np.uint8), encoding, width, height)
    bands = [Image.fromarray(np.ascontiguousarray(each)) for each in (luma, blue, red)]
    # Each chroma value belongs to two or four pixels.
    size = (2 * blue.shape[1], height if blue.shape[0] == height else 2 * blue.shape[0])
    bands[1:] = [
        each.resize(size, Image.Resampling.NEAREST).crop((0, 0, width, height)) for each in bands[1:]
    ]
    return np.asarray(Image.merge("RGB", bands).convert("RGB", _matrix(colours)))


def _split(data: Plane, encoding: YuvEncoding, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """Return luma ``(height, width)``, Cb and Cr; views where possible."""
    shapes = planes(encoding, width, height)
    if encoding in PACKED:
        groups = data.reshape(height, -1, 4)
        at, blue_at, red_at = PACKED[encoding]
        luma = groups[:, :, at::2].reshape(height, -1)[:, :width]
        return luma, groups[:, :, blue_at], groups[:, :, red_at]
    ends = np.cumsum([rows * row_bytes for rows, row_bytes in shapes])[:-1]
    luma, *chroma = (part.reshape(shape) for part, shape in zip(np.split(data, ends), shapes, strict=True))
    if encoding in PLANAR:
        blue, red = chroma[::-1] if PLANAR[encoding] else chroma
        return luma, blue, red
    first, second = chroma[0][:, 0::2], chroma[0][:, 1::2]
    return (luma, second, first) if SEMI_PLANAR[encoding] else (luma, first, second)


@cache
def _matrix(colours: Colours) -> tuple[float, ...]:
    """Return the matrix from (Y, Cb, Cr, 1) to R, G and B, for bytes (ITU-R BT.601, BT.709, BT.2020)."""
    name, _, full = colours.partition("-")
    of_red, of_blue = WEIGHTS[name]
    of_green = 1 - of_red - of_blue
    low, luma, chroma = (0, 1.0, 1.0) if full else (16, 255 / 219, 255 / 224)
    rows = (
        (0.0, 2 * (1 - of_red)),
        (-2 * of_blue * (1 - of_blue) / of_green, -2 * of_red * (1 - of_red) / of_green),
        (2 * (1 - of_blue), 0.0),
    )
    return tuple(
        number
        for blue, red in rows
        for number in (luma, chroma * blue, chroma * red, -luma * low - 128 * chroma * (blue + red))
    )
