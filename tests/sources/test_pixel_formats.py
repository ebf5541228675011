"""Cameras' rows of pixels: the padding between them is cut."""

from __future__ import annotations

import numpy as np
import pytest

from incv3d.frames import YuvEncoding
from incv3d.images import yuv
from incv3d.sources.pixel_formats import planes_without_padding, strip_padding


def test_rows_are_cut_to_their_pixels() -> None:
    rows = b"aaa..bbb..ccc.."
    assert strip_padding(rows, 3, 3, 5) == b"aaabbbccc"
    assert strip_padding(rows[:-2], 3, 3, 5) == b"aaabbbccc", "the last row may lack its padding"
    assert strip_padding(memoryview(b"aaabbb" + b"more"), 2, 3, 3) == b"aaabbb"
    with pytest.raises(ValueError, match="too few"):
        strip_padding(rows[:-3], 3, 3, 5)


@pytest.mark.parametrize(
    ("encoding", "padded"),
    [
        ("yuyv", b"YUYVYUYV..yuyvyuyv.."),
        ("nv12", b"YYYY..yyyy..UVuv.."),
        ("yu12", b"YYYY..yyyy..Uu.Vv."),
        ("yv12", b"YYYY..yyyy..Vv.Uu."),
    ],
)
def test_every_plane_is_cut_to_its_pixels(encoding: YuvEncoding, padded: bytes) -> None:
    planes = yuv.planes(encoding, 4, 2)
    stride_bytes = 10 if encoding == "yuyv" else 6
    bare = padded.replace(b".", b"")
    assert planes_without_padding(padded, planes, stride_bytes) == bare
    assert planes_without_padding(bare + b"more", planes, planes[0][1]) == bare
    assert len(bare) == yuv.size_bytes(encoding, 4, 2)
    for data, stride in ((padded[:-4], stride_bytes), (bare[:-1], planes[0][1])):
        with pytest.raises(ValueError, match="too few"):
            planes_without_padding(data, planes, stride)


def test_odd_sizes_have_room_for_their_last_colours() -> None:
    assert yuv.planes("yu12", 5, 3) == [(3, 5), (2, 3), (2, 3)]
    assert yuv.planes("nv12", 5, 3) == [(3, 5), (2, 6)]
    assert yuv.planes("uyvy", 5, 3) == [(3, 12)]
    data = np.arange(3 * 8 + 2 * 4 * 2, dtype=np.uint8)
    assert len(planes_without_padding(data.data, yuv.planes("yu12", 5, 3), 8)) == 15 + 6 + 6
