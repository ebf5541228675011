"""What a header tells before anything is decoded, and who is decoded aside because of it."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from incv3d.frames import Frame, ImageFormat, image_format
from incv3d.images.decode_cost import image_size, is_large


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
def test_the_size_is_what_the_encoder_wrote(format_: ImageFormat, options: dict[str, object]) -> None:
    data = encoded(format_, 333, 257, **options)
    assert image_format(data) == format_
    assert image_size(data, format_) == (333, 257)


def test_the_size_of_the_first_kind_of_bmp_is_read() -> None:
    head = struct.pack("<IHHI", 26, 0, 0, 26) + struct.pack("<IHHHH", 12, 333, 257, 1, 24)
    assert image_size(b"BM" + head, "bmp") == (333, 257)


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
def test_pictures_that_take_long_are_large(format_: ImageFormat, side: int, large: bool) -> None:
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


@pytest.mark.parametrize(("width", "height", "large"), [(2000, 2000, False), (4_000_001, 1, True)])
def test_raw_pixels_are_large_beyond_four_million(width: int, height: int, large: bool) -> None:
    assert is_large(frame(b"x", width, height)) is large


def sized(format_: ImageFormat, width: int, height: int) -> bytes:
    """The first bytes of a picture of this size, which need not be made for that."""
    match format_:
        case "jpeg":
            return b"\xff\xd8" + jpeg_frame(width, height)
        case "png":
            return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
        case "bmp":
            return b"BM" + struct.pack("<IHHIIii", 54, 0, 0, 54, 40, width, height)
        case "webp":
            packed = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
            return b"RIFF1234WEBPVP8X" + bytes(8) + packed


def jpeg_frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    return struct.pack(">BBHBHHB", 0xFF, marker, 17, 8, height, width, 3)


@pytest.mark.parametrize(
    ("format_", "width", "height", "large"),
    [
        ("jpeg", 2000, 2000, False),
        ("jpeg", 2000, 2001, True),
        ("png", 1000, 1000, False),
        ("png", 1000, 1001, True),
        ("bmp", 1000, 1000, False),
        ("bmp", 1000, -1001, True),
        ("webp", 1000, 1000, False),
        ("webp", 1000, 1001, True),
    ],
)
def test_of_a_jpeg_four_million_pixels_are_not_large_and_of_other_formats_one(
    format_: ImageFormat, width: int, height: int, large: bool
) -> None:
    assert is_large(frame(sized(format_, width, height))) is large


@pytest.mark.parametrize("format_", ["jpeg", "png", "bmp", "webp"])
@pytest.mark.parametrize(("width", "height"), [(1, 2), (0x0102, 0x0304), (0x3FFF, 0x3FFE)])
def test_every_byte_of_a_size_counts(format_: ImageFormat, width: int, height: int) -> None:
    assert image_size(sized(format_, width, height), format_) == (width, height)


def test_the_sides_of_a_png_or_a_bmp_can_have_four_bytes_and_those_of_a_webp_three() -> None:
    assert image_size(sized("png", 0x01020304, 0x05060708), "png") == (0x01020304, 0x05060708)
    assert image_size(sized("bmp", 0x01020304, 0x05060708), "bmp") == (0x01020304, 0x05060708)
    assert image_size(sized("webp", 0x010203, 0x040506), "webp") == (0x010203, 0x040506)


def test_a_bmp_whose_rows_come_from_the_top_has_a_size_all_the_same() -> None:
    assert image_size(sized("bmp", -333, -257), "bmp") == (333, 257)


def test_the_first_kind_of_bmp_has_sides_of_two_bytes() -> None:
    head = struct.pack("<IHHI", 26, 0, 0, 26) + struct.pack("<IHHHH", 12, 0xFFFE, 0xFFFD, 1, 24)
    assert image_size(b"BM" + head, "bmp") == (0xFFFE, 0xFFFD)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (334, 258), (0x1555, 0x2AAA), (0x3FFF, 0x3FFF)])
def test_what_else_a_webp_writes_beside_its_size_is_no_part_of_it(width: int, height: int) -> None:
    for scale in (0, 1, 2, 3):  # how a player is to enlarge it
        sides = struct.pack("<HH", width | scale << 14, height | (3 - scale) << 14)
        lossy = b"RIFF1234WEBPVP8 " + bytes(4) + b"\0\0\0\x9d\x01\x2a" + sides
        assert image_size(lossy, "webp") == (width, height)
    for flags in (0, 1, 0xF):  # whether it has alpha, and a version
        bits = (width - 1) | (height - 1) << 14 | flags << 28
        lossless = b"RIFF1234WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", bits)
        assert image_size(lossless, "webp") == (width, height)
    with_more = sized("webp", width, height)
    assert image_size(with_more[:20] + b"\x10" + with_more[21:], "webp") == (width, height)


def test_a_webp_with_an_unknown_first_chunk_is_large() -> None:
    data = b"RIFF1234WEBPXXXX" + bytes(20)
    assert image_size(data, "webp") is None and is_large(frame(data))


def test_what_is_no_picture_is_not_large() -> None:
    assert is_large(frame(b"hello, world")) is False


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC3, 0xC9])
def test_a_jpeg_in_one_scan_has_a_size_however_it_is_coded(marker: int) -> None:
    assert image_size(b"\xff\xd8" + jpeg_frame(333, 257, marker), "jpeg") == (333, 257)


@pytest.mark.parametrize("marker", [0xC2, 0xC6, 0xCA, 0xCE])
def test_a_progressive_jpeg_has_none_that_tells_what_it_costs(marker: int) -> None:
    assert image_size(b"\xff\xd8" + jpeg_frame(333, 257, marker), "jpeg") is None


def test_a_jpeg_that_ends_within_its_frame_header_is_large() -> None:
    whole = b"\xff\xd8" + jpeg_frame(333, 257)
    assert image_size(whole, "jpeg") == (333, 257)
    for length in range(3, len(whole)):
        assert image_size(whole[:length], "jpeg") is None and is_large(frame(whole[:length]))


def test_a_frame_header_after_the_first_scan_is_not_believed() -> None:
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    assert image_size(b"\xff\xd8" + scan + jpeg_frame(8, 8), "jpeg") is None


@pytest.mark.parametrize(("comments", "size"), [(0, (333, 257)), (63, (333, 257)), (64, None)])
def test_a_frame_header_is_searched_among_the_first_64_segments(comments: int, size: object) -> None:
    data = b"\xff\xd8" + b"\xff\xfe\x00\x04hi" * comments + jpeg_frame(333, 257)
    assert image_size(data, "jpeg") == size
