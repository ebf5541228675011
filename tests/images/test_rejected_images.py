"""Reject damaged, oversized and unknown images, and nothing else."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incv3d.frames import Encoding
from incv3d.images.preprocess import ImageError, ImageTooLarge, Preprocessor
from sample_images import INCEPTION, PREPARE, encoded, frame, smooth


def test_a_damaged_or_too_large_jpeg_is_not_left_to_the_graph() -> None:
    prepare = Preprocessor(INCEPTION, 4_000_000, "graph")
    data = encoded(smooth(640, 480), "JPEG")
    half = len(data) // 2
    for damaged in (
        data[:half],
        data[:half] + b"\xff\xd9",
        data[:half] + b"\xff\xd0" * 20 + data[half + 40 :],
        data[:200] + b"\xff\xd9",
    ):
        with pytest.raises(ImageError, match="damaged JPEG"):
            prepare(frame(damaged))
    with pytest.raises(ImageTooLarge):
        Preprocessor(INCEPTION, 640 * 480 - 1, "graph")(frame(data))


def test_raw_pixels_of_the_wrong_size_are_refused() -> None:
    for data, width, height in ((b"x" * 44, 5, 3), (b"x" * 46, 5, 3), (b"", 0, 0), (b"x", 1, -1)):
        with pytest.raises(ImageError, match=r"pixels|is 45 bytes"):
            PREPARE.decode(frame(data, "rgb24", width, height))
    with pytest.raises(ImageTooLarge):
        PREPARE.decode(frame(b"x", "gray8", 65_535, 65_535))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_picture_cut_off_anywhere_is_refused(format_: str) -> None:
    data = encoded(smooth(64, 48), format_)
    for length in {1, 2, 3, 10, 12, 20, 40, len(data) // 4, len(data) // 2, len(data) * 3 // 4}:
        with pytest.raises(ImageError):
            PREPARE.decode(frame(data[:length]))


def test_a_jpeg_with_padding_between_its_segments_is_read() -> None:
    data = encoded(smooth(64, 48), "JPEG")
    middle = data.index(b"\xff\xdb")
    padded = data[:middle] + b"\0" * 20 + data[middle:]
    difference = PREPARE.decode(frame(padded)).astype(int) - PREPARE.decode(frame(data))
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("said", ["jpeg", "png", "webp", "bmp"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_first_bytes_tell_the_format_not_what_is_said_of_it(kind: str, said: Encoding) -> None:
    data = encoded(smooth(8, 8), kind)
    np.testing.assert_array_equal(PREPARE.decode(frame(data, said)), PREPARE.decode(frame(data)))


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    def png(width: int, height: int) -> bytes:
        body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
        header = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        return b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")

    for width, height in ((60_000, 60_000), (10_000, 9_000), (2001, 2000)):
        with pytest.raises(ImageTooLarge):
            PREPARE.decode(frame(png(width, height)))
    jpeg = bytearray(encoded(smooth(16, 16), "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(ImageTooLarge, match="60000x60000 pixels; the limit for this format is 4000000"):
        PREPARE.decode(frame(bytes(jpeg)))


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBP"]


@settings(max_examples=300)
@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_garbage_is_a_picture_error_and_nothing_else(head: bytes, tail: bytes) -> None:
    try:
        PREPARE.decode(frame(head + tail))
    except ImageError as error:
        assert str(error)


@settings(max_examples=300)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_is_a_picture_or_a_picture_error(format_: str, at: int, value: int) -> None:
    data = bytearray(encoded(smooth(24, 24), format_))
    data[at % len(data)] = value
    try:
        assert PREPARE(frame(bytes(data))).shape == (1, 299, 299, 3)
    except ImageError as error:
        assert str(error)


def test_a_pixel_counts_four_times_where_a_picture_cannot_be_decoded_small() -> None:
    image = smooth(300, 200)
    admitting = Preprocessor(INCEPTION, max_pixels=4 * 300 * 200 - 1)
    for format_ in ("PNG", "WEBP", "BMP"):
        with pytest.raises(ImageTooLarge, match="300x200 pixels; the limit for this format is 59999"):
            admitting.decode(frame(encoded(image, format_)))
    assert admitting.decode(frame(encoded(image, "JPEG"))).shape == (200, 300, 3)


def test_a_jpeg_of_more_scans_than_encoders_write_is_refused_before_it_is_decoded() -> None:
    data = encoded(smooth(64, 64), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 2)]
    assert PREPARE.decode(frame(data)).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="more scans than any encoder writes"):
        PREPARE.decode(frame(data[:first] + scan * 1000 + data[first:]))


def test_a_moving_picture_is_its_first_one() -> None:
    image = smooth(32, 24)
    others = [image.rotate(180)] * 3
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(image, format_, save_all=True, append_images=others, **options)
        np.testing.assert_array_equal(PREPARE.decode(frame(data)), np.asarray(image))


def test_damaged_exif_harms_no_picture() -> None:
    image = smooth(32, 24)
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        for exif in (b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
            got = PREPARE.decode(frame(encoded(image, format_, exif=exif, **options)))
            np.testing.assert_array_equal(got, np.asarray(image))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a raw format"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "an MP4 video"),
        (base64.b64encode(encoded(smooth(8, 8), "JPEG")), "a JPEG in Base64"),
        (b"data:image/png;base64,iVBORw0KGgo", "a data URL"),
        (encoded(smooth(8, 8), "GIF"), "GIF"),
        (encoded(smooth(8, 8), "TIFF"), "TIFF"),
        (b"<!DOCTYPE html><title>401</title>", "a web page"),
    ],
)
def test_what_people_send_instead_is_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"^not a JPEG, PNG, WebP or BMP image, but {name}"):
        PREPARE.decode(frame(data))
