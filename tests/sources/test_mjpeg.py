"""Pictures out of a stream of bytes: whatever cameras write between them, and however it arrives."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from incv3d.sources.mjpeg import LARGEST_IMAGE, ImageSplitter, SplitError


def encoded(seed: int, format_: str = "JPEG", **options: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format_, **options)
    return out.getvalue()


def with_thumbnail(picture: bytes) -> bytes:
    """As a camera writes it: with a small JPEG in its EXIF, which has an end marker of its own."""
    thumbnail = encoded(99)
    payload = b"Exif\x00\x00\n" + thumbnail + b"\n" + thumbnail
    return picture[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + picture[2:]


JPEGS = [encoded(0), encoded(1, quality=95), with_thumbnail(encoded(2)), encoded(3, progressive=True)]
FRAMES = {
    "as it should be": (b"--frame\r\n", b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n", b"\r\n"),
    "no dashes": (b"frame\r\n", b"Content-Type: image/jpeg\r\n\r\n", b"\r\n"),
    "no headers": (b"--frame\r\n", b"\r\n", b"\r\n"),
    "image/jpg": (b"--frame\r\n", b"Content-Type: image/jpg\r\n\r\n", b"\r\n"),
    "a length that is too small": (b"--frame\r\n", b"Content-Length: 100\r\n\r\n", b"\r\n"),
    "a length that is too large": (b"--frame\r\n", b"Content-Length: 10000000\r\n\r\n", b"\r\n"),
    "another boundary": (b"--other\r\n", b"Content-Type: image/jpeg\r\n\r\n", b"\r\n"),
    "line feeds alone": (b"--frame\n", b"Content-Type: image/jpeg\n\n", b"\n"),
    "nothing after the picture": (b"\r\n--frame\r\n", b"Content-Type: image/jpeg\r\n\r\n", b""),
    "padding after the picture": (b"--frame\r\n", b"Content-Type: image/jpeg\r\n\r\n", b"\0" * 30 + b"\r\n"),
    "a second picture in the part": (
        b"--frame\r\n",
        b"X: y\r\n\r\n",
        b"\0" + encoded(7) + encoded(8) + b"\r\n",
    ),
    "boundary after the picture": (b"", b"Content-Type: image/jpeg\r\n\r\n", b"\r\n--frame\r\n"),
}


def stream(before: bytes, head: bytes, after: bytes, pictures: list[bytes]) -> bytes:
    return b"".join(before + head.replace(b"%d", b"%d" % len(each)) + each + after for each in pictures)


def split(splitter: ImageSplitter, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    return [picture for piece in pieces for _, picture in splitter.feed(piece, 0.0)]


FEW = settings(max_examples=20)
CUTS = st.lists(st.integers(0, 2**32), max_size=20)


@pytest.mark.parametrize("kind", FRAMES)
@FEW
@given(cuts=CUTS)
def test_every_image_comes_out_whole_however_it_is_framed_and_cut_up(kind: str, cuts: list[int]) -> None:
    assert split(ImageSplitter("frame"), stream(*FRAMES[kind], JPEGS), cuts) == JPEGS


@FEW
@given(cuts=CUTS)
def test_byte_by_byte_or_at_once_it_is_the_same(cuts: list[int]) -> None:
    data = stream(*FRAMES["as it should be"], JPEGS[:2])
    assert split(ImageSplitter("frame"), data, list(range(len(data)))) == JPEGS[:2]
    assert split(ImageSplitter('"--frame"'), b"HTTP junk" + data, cuts) == JPEGS[:2]


@FEW
@given(cuts=CUTS)
def test_the_first_image_needs_no_boundary(cuts: list[int]) -> None:
    data = JPEGS[0] + b"\r\n" + stream(*FRAMES["as it should be"], JPEGS[1:])
    assert split(ImageSplitter("frame"), data, cuts) == JPEGS


@pytest.mark.parametrize("boundary", ["frame", "unlike", "", "ab"])
@FEW
@given(cuts=CUTS)
def test_jpegs_without_an_end_marker_end_where_the_next_part_begins(boundary: str, cuts: list[int]) -> None:
    endless = [each[:-2] for each in JPEGS]
    got = split(ImageSplitter(boundary), stream(*FRAMES["as it should be"], endless), cuts)
    assert got == endless[:3], "of the last one nothing tells that it is whole"


def test_where_the_boundary_is_known_a_jpeg_without_an_end_marker_waits_for_no_other() -> None:
    splitter = ImageSplitter("frame")
    before, head, after = FRAMES["as it should be"]
    for each in JPEGS[:2]:
        splitter.feed(before + head + each[:-2] + after, 0.0)
    assert [got for _, got in splitter.feed(before, 1.0)] == [JPEGS[1][:-2]]


@FEW
@given(cuts=CUTS)
def test_jpegs_may_follow_each_other_with_nothing_between_them(cuts: list[int]) -> None:
    assert split(ImageSplitter(in_parts=False), b"".join(JPEGS), cuts) == JPEGS


@FEW
@given(cuts=CUTS)
def test_parts_may_be_png_or_webp(cuts: list[int]) -> None:
    pictures = [encoded(0, "PNG"), encoded(1, "WEBP"), encoded(2), encoded(3, "WEBP", lossless=True)]
    assert split(ImageSplitter("frame"), stream(*FRAMES["as it should be"], pictures), cuts) == pictures


def test_a_image_has_the_time_of_its_first_bytes() -> None:
    splitter = ImageSplitter()
    data = stream(*FRAMES["as it should be"], JPEGS[:1])
    assert splitter.feed(data[:200], 1.0) == []
    assert splitter.feed(data[200:], 2.0) == [(1.0, JPEGS[0])]


def test_what_is_no_image_is_not_kept_and_what_has_no_end_is_refused() -> None:
    splitter = ImageSplitter()
    for _ in range(100):
        assert splitter.feed(b"no picture at all" * 1000, 0.0) == []
    assert len(splitter._buffer) < 100
    splitter.feed(b"\r\n\r\n" + JPEGS[0][:-2], 0.0)
    with pytest.raises(SplitError, match="no end of the image within 32 MiB"):
        for _ in range(LARGEST_IMAGE // 2**20 + 1):
            splitter.feed(b"\0" * 2**20, 0.0)


@given(st.lists(st.binary(max_size=300), max_size=10), st.booleans())
def test_nothing_breaks_it(pieces: list[bytes], in_parts: bool) -> None:
    splitter = ImageSplitter("frame", in_parts)
    for piece in pieces:
        splitter.feed(piece, 0.0)
        splitter.feed(b"\n\xff\xd8\xff", 0.0)
