"""Remove the padding that camera drivers put between rows of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def strip_padding(data: bytes | memoryview, rows: int, row_bytes: int, stride_bytes: int) -> bytes:
    """Return the first `row_bytes` of each of `rows` rows that are `stride_bytes` apart.

    :raises ValueError: `data` is shorter than that.
    """
    if len(data) < stride_bytes * (rows - 1) + row_bytes:
        raise ValueError(f"{len(data)} bytes are too few for {rows} rows of {stride_bytes}")
    if row_bytes == stride_bytes:
        return bytes(data[: rows * row_bytes])
    # The last row may come without its padding.
    whole = np.frombuffer(data, np.uint8, stride_bytes * (rows - 1)).reshape(rows - 1, stride_bytes)
    last = bytes(data[stride_bytes * (rows - 1) :][:row_bytes])
    return whole[:, :row_bytes].tobytes() + last


def planes_without_padding(
    data: bytes | memoryview, planes: Sequence[tuple[int, int]], stride_bytes: int
) -> bytes:
    """Return the rows of all `planes` in order, without padding.

    :param planes: rows and bytes per row of each.
    :param stride_bytes: from row to row of the first plane, and of those that are as wide; rows of half the
        width are half as far apart (kernel documentation of V4L2, single-planar formats).
    :raises ValueError: `data` is shorter than that.
    """
    widest = planes[0][1]
    if stride_bytes == widest:
        size_bytes = sum(rows * row_bytes for rows, row_bytes in planes)
        if len(data) < size_bytes:
            raise ValueError(f"{len(data)} bytes are too few, {size_bytes} were expected")
        return bytes(data[:size_bytes])
    rest = memoryview(data)
    pieces = []
    for rows, row_bytes in planes:
        stride = stride_bytes if row_bytes >= widest else (stride_bytes + 1) // 2
        pieces.append(strip_padding(rest, rows, row_bytes, stride))
        rest = rest[rows * stride :]
    return b"".join(pieces)
