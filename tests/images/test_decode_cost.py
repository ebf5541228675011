"""What a header tells before anything is decoded, and who is decoded aside because of it."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from incv3d.frames import Frame, PictureFormat, picture_format
from incv3d.images.decode_cost import is_large, picture_size


def encoded(format_: str, width: int, height: int, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(out, format_, **options)
    return out.getvalue()


def frame(data: bytes, width: int = 0, height: int = 0) -> Frame:
    return Frame("zmq", data, "rgb24" if width else None, 0.0, 0.0, width=width, height=height)


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("jpeg", {}),
        ("jpeg", {"exif": b"Exif\x00\x00" + bytes(5000), "comment": b"hello"}),
        ("png", {}),
        ("bmp", {}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("webp", {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"}),
    ],
)
def test_the_size_is_what_the_encoder_wrote(format_: PictureFormat, options: dict[str, object]) -> None:
    data = encoded(format_, 333, 257, **options)
    assert picture_format(data) == format_
    assert picture_size(data, format_) == (333, 257)


def test_the_size_of_the_first_kind_of_bmp_is_read() -> None:
    head = struct.pack("<IHHI", 26, 0, 0, 26) + struct.pack("<IHHHH", 12, 333, 257, 1, 24)
    assert picture_size(b"BM" + head, "bmp") == (333, 257)


@pytest.mark.parametrize(
    ("format_", "side", "large"),
    [
        ("jpeg", 640, False),
        ("jpeg", 2100, True),
        ("png", 640, False),
        ("png", 1100, True),
        ("webp", 1100, True),
    ],
)
def test_pictures_that_take_long_are_large(format_: PictureFormat, side: int, large: bool) -> None:
    assert is_large(frame(encoded(format_, side, side))) is large


def test_progressive_jpegs_are_large_whatever_they_measure() -> None:
    assert is_large(frame(encoded("jpeg", 64, 64, progressive=True)))


def test_raw_pixels_are_judged_by_what_their_header_says() -> None:
    assert not is_large(frame(b"x", 640, 480))
    assert is_large(frame(b"x", 8000, 8000))


def test_a_jpeg_of_endless_segments_is_large_and_not_searched() -> None:
    assert is_large(frame(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000))


@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF1234WEBP"]), st.binary(max_size=80)
)
def test_garbage_behind_a_good_beginning_is_judged_too(magic: bytes, rest: bytes) -> None:
    assert is_large(frame(magic + rest)) in (True, False)
