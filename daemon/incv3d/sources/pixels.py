"""Cameras' pixel layouts to what a frame may hold: rows without padding, RGB instead of YUYV."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Plane = npt.NDArray[np.uint8]


def without_padding(data: bytes | memoryview, rows: int, row_bytes: int, stride_bytes: int) -> bytes:
    """The first `row_bytes` of each of `rows` rows that are `stride_bytes` apart.

    :raises ValueError: when `data` is shorter than that.
    """
    if len(data) < stride_bytes * (rows - 1) + row_bytes:
        raise ValueError(f"{len(data)} bytes are too few for {rows} rows of {stride_bytes}")
    if row_bytes == stride_bytes:
        return bytes(data[: rows * row_bytes])
    # The last row may come without its padding.
    whole = np.frombuffer(data, np.uint8, stride_bytes * (rows - 1)).reshape(rows - 1, stride_bytes)
    last = bytes(data[stride_bytes * (rows - 1) :][:row_bytes])
    return whole[:, :row_bytes].tobytes() + last


def yuyv_to_rgb(data: bytes, width: int, height: int) -> bytes:
    """Packed YUV 4:2:2 (Y0 U Y1 V) to ``rgb24``, both of `width` x `height` pixels.

    Studio swing and the coefficients of BT.601, which webcams send unless they say otherwise (kernel
    documentation of V4L2_PIX_FMT_YUYV and V4L2_COLORSPACE_SRGB). Pillow converts full swing, in C.
    """
    pairs: Plane = np.frombuffer(data, np.uint8).reshape(height, width // 2, 4)
    luma = _LUMA[pairs[:, :, 0::2]].reshape(height, width)
    chroma = (np.repeat(_CHROMA[pairs[:, :, plane]], 2, axis=1) for plane in (1, 3))
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in (luma, *chroma)]
    return Image.merge("YCbCr", planes).convert("RGB").tobytes()


def _full_swing(low: float, span: float, to_low: float, to_span: float) -> Plane:
    levels = (np.arange(256) - low) * (to_span / span) + to_low
    full: Plane = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return full


_LUMA = _full_swing(16, 219, 0, 255)
_CHROMA = _full_swing(128, 224, 128, 255)
