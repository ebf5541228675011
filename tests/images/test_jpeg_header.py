"""Read a JPEG's header: orientation, precision, number of scans."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from decoded_jpegs import (
    ALL,
    BASE,
    CMYK,
    DECODERS,
    GREY,
    MOTION,
    ODD,
    PROGRESSIVE,
    RESTARTS,
    assert_same,
    decoded,
    frame,
    refusal,
)
from incv3d.images.jpeg import Header, read_header
from incv3d.images.preprocess import ImageError
from jpegs import (
    after_jfif,
    exif,
    icc,
    scan_of,
    segment,
    with_segments,
    xmp,
)

ORIENTED = {
    "first": lambda it: [it],
    "after XMP": lambda it: [xmp(), it],
    "after a colour profile": lambda it: [icc(), it],
    "after a long colour profile": lambda it: [icc(9, 65_000), it],
    "after XMP, profile and others": lambda it: [
        xmp(), icc(3, 60_000), segment(0xED, b"Photoshop 3.0\0" + bytes(9000)), segment(0xFE, b"Exif\0\0"), it
    ],
    "after a hundred segments": lambda it: [*[segment(0xEF, bytes(60_000))] * 100, it],
    "after padding": lambda it: [b"\xff" * 9, it],
    "after zeros": lambda it: [segment(0xFE, b""), b"\0" * 9, it],
    "before XMP": lambda it: [it, xmp(), icc()],
    "before another": lambda it: [it, exif(3)],
    "after one that is empty": lambda it: [segment(0xE1, b"Exif\0\0"), it],
    "after one that is damaged": lambda it: [segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"), it],
    "after one that says nothing": lambda it: [exif(0), it],
}  # fmt: skip


@pytest.mark.parametrize("where", ORIENTED)
@pytest.mark.parametrize("place", ["before JFIF", "after JFIF", "after the tables", "before the scan"])
def test_the_orientation_is_found_wherever_its_segment_lies(place: str, where: str) -> None:
    at = {
        "before JFIF": 2,
        "after JFIF": after_jfif(BASE),
        "after the tables": BASE.index(b"\xff\xc0"),
        "before the scan": BASE.index(b"\xff\xda"),
    }[place]
    for orientation, order in ((6, ">"), (8, "<"), (3, ">")):
        turned = with_segments(BASE, *ORIENTED[where](exif(orientation, order)), at=at)
        want = decoded(with_segments(BASE, exif(orientation)))
        assert want.shape == ((134, 200, 3) if orientation == 3 else (200, 134, 3))
        np.testing.assert_array_equal(decoded(turned), want)


@pytest.mark.parametrize("odd", [each for each in ODD if "JFIF" not in each])
def test_odd_pictures_are_turned_too(odd: str) -> None:
    for data in (BASE, CMYK):
        turned = with_segments(data, icc(2, 60_000), exif(6), at=after_jfif(data))
        assert_same(ODD[odd](turned), turned)
        assert decoded(turned).shape == (200, 134, 3)


@settings(max_examples=100)
@given(st.binary(max_size=80), st.sampled_from([b"", b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0"]))
def test_damaged_exif_turns_nothing_or_something_and_is_no_error(tail: bytes, head: bytes) -> None:
    header = read_header(with_segments(BASE, segment(0xE1, b"Exif\0\0" + head + tail)))
    assert isinstance(header, Header) and 1 <= header.orientation <= 8


def test_more_than_8_bits_are_named() -> None:
    at = BASE.index(b"\xff\xc0") + 4
    assert (
        refusal(BASE[:at] + b"\x0c" + BASE[at + 1 :])
        == "unsupported JPEG: 12 bits per channel; save it with 8"
    )


def test_scans_are_counted_to_the_end_of_the_picture_alone() -> None:
    for data in ALL.values():
        assert_same(data + b"\xff\xda" * 101, data)
    start = PROGRESSIVE.index(b"\xff\xda")
    scan = PROGRESSIVE[start : PROGRESSIVE.index(b"\xff", start + 2)]
    assert "more scans than" in refusal(PROGRESSIVE[:start] + scan * 101 + PROGRESSIVE[start:])
    assert "more segments than" in refusal(with_segments(BASE, *[segment(0xFE, b"")] * 1001))


def test_a_good_picture_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: calls.append(1) or decode(*a, **k))
    for data in (BASE, RESTARTS, PROGRESSIVE, GREY, BASE + MOTION):
        DECODERS["exact"].decode(frame(data))
    assert len(calls) == 5


@settings(max_examples=150)
@given(st.sampled_from(sorted(ALL)), st.integers(0, 1000), st.binary(min_size=1, max_size=3), st.booleans())
def test_a_damaged_header_is_a_picture_or_a_picture_error(name: str, at: int, new: bytes, cut: bool) -> None:
    data = ALL[name][:-2] if cut else ALL[name]
    at %= scan_of(data)
    for mode in ("fast", "graph"):
        try:
            DECODERS[mode](frame(data[:at] + new + data[at + len(new) :]))
        except ImageError as error:
            assert str(error)
