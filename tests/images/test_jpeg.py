"""JPEGs of every kind that cameras and phones write: what is only odd is read, what is cut is refused."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from incv3d.frames import Frame
from incv3d.images import jpeg_decoder
from incv3d.images.decode_cost import is_large
from incv3d.images.jpeg import Header, read_header, segments
from incv3d.images.preprocess import ImageError, Mode, Preprocessor
from incv3d.images.resize import InputSpec
from jpegs import (
    EOI,
    Factors,
    adobe,
    after_jfif,
    exif,
    icc,
    jfif,
    sampled,
    scan_of,
    segment,
    with_segments,
    xmp,
)
from processes import run_incv3d

MODES: tuple[Mode, ...] = ("fast", "exact", "graph")
SPEC = InputSpec(32, 32, 128.0, 128.0, "stretch", 1.0, "bilinear")
DECODERS = {mode: Preprocessor(SPEC, 4_000_000, mode) for mode in MODES}
MOTION = segment(0xE1, b"MotionPhoto") + bytes(24) + b"ftypmp42" + bytes(range(256)) * 20


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // width, y * 255 // height, ((x // 16 + y // 16) % 2) * 200)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def frame(data: bytes) -> Frame:
    return Frame("zmq", data, None, received=0.0, captured=0.0)


def decoded(data: bytes) -> np.ndarray:
    """The pixels at full size, after it was seen that the graph is fed the same."""
    exact, graph = (DECODERS[mode].decode(frame(data)) for mode in ("exact", "graph"))
    np.testing.assert_array_equal(graph, exact)
    fed = DECODERS["graph"](frame(data))
    if isinstance(fed, bytes):
        assert fed == data
        fed = simplejpeg.decode_jpeg(fed, fastdct=True)
    np.testing.assert_array_equal(fed, exact)
    return exact


def assert_same(odd: bytes, plain: bytes) -> None:
    """See that both are the same picture to the bit, at full size and decoded small."""
    np.testing.assert_array_equal(decoded(odd), decoded(plain))
    small, want = (DECODERS["fast"].decode(frame(data)) for data in (odd, plain))
    np.testing.assert_array_equal(small, want)
    if len(list(segments(odd))) < 64:  # those with more are decoded aside
        assert is_large(frame(odd)) is is_large(frame(plain))


def refusal(data: bytes) -> str:
    """What every mode says against a picture."""
    said = set()
    for mode in MODES:
        with pytest.raises(ImageError) as caught:
            DECODERS[mode](frame(data))
        said.add(str(caught.value))
    assert len(said) == 1, said
    return said.pop()


def by_pillow(data: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"), int)


BASE = jpeg(smooth(200, 134))
RESTARTS = jpeg(smooth(200, 134), restart_marker_rows=1)
PROGRESSIVE = jpeg(smooth(200, 134), progressive=True)
GREY = jpeg(smooth(200, 134, "L"))
CMYK = jpeg(smooth(200, 134, "CMYK"))
ALL = {"base": BASE, "restarts": RESTARTS, "progressive": PROGRESSIVE, "grey": GREY, "cmyk": CMYK}


def samsung(data: bytes, parameters: bytes) -> bytes:
    """With other scan parameters than encoders should write."""
    at = scan_of(data)
    return data[: at - 3] + parameters + data[at:]


def without_jfif(data: bytes, *instead: bytes) -> bytes:
    return data[:2] + b"".join(instead) + data[after_jfif(data) :]


ODD: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda data: data,
    "no end marker": lambda data: data[:-2],
    "half an end marker": lambda data: data[:-1],
    "zeros after the end": lambda data: data + bytes(5000),
    "zeros instead of the end": lambda data: data[:-2] + bytes(5000),
    "zeros before the end": lambda data: data[:-2] + bytes(5000) + EOI,
    "0xFF before the end": lambda data: data[:-2] + b"\xff" * 7 + EOI,
    "0xFF instead of the end": lambda data: data[:-2] + b"\xff" * 64,
    "text after the end": lambda data: data + b"\r\n--boundary\r\nContent-Type: image/jpeg\r\n",
    "a film after the end": lambda data: data + MOTION + b"\xff\xda" * 101,
    "another picture after the end": lambda data: data + GREY,
    "another picture instead of the end": lambda data: data[:-2] + GREY,
    "padding between segments": lambda data: with_segments(data, b"\0" * 20, at=after_jfif(data)),
    "padding with 0xFF": lambda data: with_segments(data, b"\xff" * 20, at=after_jfif(data)),
    "a stuffed byte between segments": lambda data: with_segments(data, b"\xff\0", at=after_jfif(data)),
    "JFIF 0.00": lambda data: without_jfif(data, jfif((0, 0))),
    "JFIF 2.01": lambda data: without_jfif(data, jfif((2, 1))),
    "JFIF 1.255": lambda data: without_jfif(data, jfif((1, 255))),
    "JFIF 255.255": lambda data: without_jfif(data, jfif((255, 255))),
    "JFIF cut short": lambda data: without_jfif(data, jfif((1, 1), b"\0\0")),
    "JFIF of odd density and thumbnail": lambda data: without_jfif(data, jfif((1, 2), b"\7\0\0\0\0\x09\x09")),
    "no JFIF": lambda data: without_jfif(data),
    "JFIF twice": lambda data: with_segments(data, jfif((1, 2))),
    "an AVI's segment": lambda data: without_jfif(data, segment(0xE0, b"AVI1" + bytes(10))),
    "a thumbnail of its own": lambda data: with_segments(
        data, segment(0xE1, b"Exif\0\0" + b"II*\0" + bytes(4) + GREY), at=after_jfif(data)
    ),
    "scans named in a comment": lambda data: with_segments(data, segment(0xFE, b"\xff\xda" * 500)),
    "an end named in a comment": lambda data: with_segments(data, segment(0xFE, b"\xff\xd9" * 500)),
    "many segments": lambda data: with_segments(data, *[segment(0xE2, b"x" * 60)] * 300),
    "a damaged colour profile": lambda data: with_segments(data, segment(0xE2, b"ICC_PROFILE\0\7\3junk")),
    "JFIF 0.00, padded, no end marker": lambda data: without_jfif(data, jfif((0, 0)), b"\0" * 9)[:-2],
}  # fmt: skip
SCAN_PARAMETERS = (b"\0\0\0", b"\0\x3f\1", b"\1\x3f\0", b"\0\x3f\xff", b"\x3f\0\0", b"\xff\xff\xff")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("odd", ODD)
def test_what_is_only_odd_is_the_same_picture_to_the_bit(odd: str, name: str) -> None:
    data = ALL[name]
    assert_same(ODD[odd](data), data)


@pytest.mark.parametrize("name", ["base", "restarts", "grey", "cmyk"])
@pytest.mark.parametrize("parameters", SCAN_PARAMETERS)
def test_samsungs_scan_parameters_change_no_pixel(name: str, parameters: bytes) -> None:
    for data in (ALL[name], ALL[name][:-2], without_jfif(ALL[name], jfif((0, 0)))):
        assert_same(samsung(data, parameters), ALL[name])


@pytest.mark.parametrize("transform", [0, 1, 2, 3, 128, 255])
@pytest.mark.parametrize("has_jfif", [True, False])
@pytest.mark.parametrize("name", ["base", "cmyk"])
def test_adobes_colour_transform_means_what_pillow_takes_it_for(
    name: str, has_jfif: bool, transform: int
) -> None:
    """An unknown one is libjpeg's guess; JFIF, where it stands, decides alone."""
    start, data = ([jfif((1, 1))] if has_jfif else []), ALL[name]
    plain = b"".join(bytes(data[a:b]) for marker, a, b in segments(data) if marker not in (0xE0, 0xEE))
    odd = b"\xff\xd8" + b"".join(start) + adobe(transform) + plain + data[scan_of(data) :]
    difference = np.abs(decoded(odd).astype(int) - by_pillow(odd))
    assert difference.mean() < 2 and difference.max() < 30


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda cut: cut,
    "with an end marker": lambda cut: cut + EOI,
    "filled up with zeros": lambda cut: cut + bytes(50_000),
    "filled up with zeros, and an end marker": lambda cut: cut + bytes(50_000) + EOI,
    "filled up with text": lambda cut: cut + b"\r\n--boundary\r\nContent-Type: image/jpeg\r\n\r\n" * 1000,
    "filled up with text, and an end marker": lambda cut: cut + b"some text, " * 5000 + EOI,
    "before a film": lambda cut: cut + MOTION,
    "before the next picture": lambda cut: cut + BASE,
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("then", CUTS)
def test_what_is_cut_is_refused_whatever_follows(then: str, name: str) -> None:
    data = ALL[name]
    first = scan_of(data)
    for length in (len(data) - 10, len(data) * 7 // 8, (first + len(data)) // 2, first + 100, first):
        assert refusal(CUTS[then](data[:length])).startswith("damaged JPEG: "), length


ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO"
    "UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT0//yQARCAAgACADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AJDQ4GX/AOO2aN+c/B83egm+hXIo"
    "KQWspxkG2oMei9iMhwpd4BZtTYmp26XOm4YzPoIOnIVoGhdly0LfLoq4Tkl6xnoXb9GROWr7qxqlStNRSK11GLz4VRdPWq3XMeZ8"
    "6iVn7ehyKWMo6GcoPyv7KjhPONFUDiC+Ba6WOfuosJ7QlYxZPLAP0fNFI1CMTTPHAATIjOrY/9k="
)
"""A gradient of 32 x 32 pixels, from cjpeg -arithmetic."""


def test_a_picture_with_arithmetic_coding_is_read_only_with_its_end() -> None:
    # Its decoder continues it with zeros and does not notice that it is cut.
    assert decoded(ARITHMETIC)[0, 0].tolist() == pytest.approx([0, 0, 0], abs=16)
    assert_same(ARITHMETIC + bytes(1000), ARITHMETIC)
    for length in (len(ARITHMETIC) - 2, len(ARITHMETIC) - 40, len(ARITHMETIC) - 150):
        assert "damaged JPEG" in refusal(ARITHMETIC[:length])


def test_a_progressive_picture_that_ends_between_two_scans_is_refused() -> None:
    starts = [start for marker, start, _ in segments(PROGRESSIVE) if marker == 0xDA]
    assert len(starts) > 5
    for start in starts[1:]:
        assert "damaged JPEG" in refusal(PROGRESSIVE[:start])
        assert "damaged JPEG" in refusal(PROGRESSIVE[:start] + bytes(100) + EOI)


def test_a_sequential_picture_in_three_scans_is_read_and_not_without_one_of_them() -> None:
    whole = in_scans(BASE)
    assert_same(whole, in_scans(BASE)[:-2])
    starts = [start for marker, start, _ in segments(whole) if marker == 0xDA]
    assert len(starts) == 3
    for start in starts[1:]:
        assert "damaged JPEG" in refusal(whole[:start])


def in_scans(data: bytes) -> bytes:
    """A picture whose components have a scan each: of three grey ones, one for each component."""
    image = Image.open(io.BytesIO(data)).convert("YCbCr")
    grey = [jpeg(channel) for channel in image.split()]
    parts = {marker: bytes(grey[0][a:b]) for marker, a, b in segments(grey[0]) if marker in (0xDB, 0xC0)}
    tables = b"".join(bytes(grey[0][a:b]) for marker, a, b in segments(grey[0]) if marker == 0xC4)
    size = parts[0xC0][5:9]
    components = b"\3" + b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    scans = (
        segment(0xDA, bytes((1, number, 0, 0, 63, 0))) + each[scan_of(each) : -2]
        for number, each in enumerate(grey, 1)
    )
    head = b"\xff\xd8" + parts[0xDB] + segment(0xC0, b"\x08" + size + components) + tables
    return head + b"".join(scans) + EOI


def test_lost_bytes_before_a_restart_marker_cost_no_frame() -> None:
    """Webcams send such frames; a damaged stripe is no reason to refuse them."""
    at = RESTARTS.index(b"\xff\xd3")
    odd = RESTARTS[:at] + b"\x12\x34" + RESTARTS[at:]
    assert_same(odd, RESTARTS)
    assert "damaged JPEG" in refusal(odd[:-40] + EOI)


def test_stray_bytes_before_the_end_marker_cost_no_frame() -> None:
    assert_same(BASE[:-2] + b"\x12\x34\x56" + EOI, BASE)


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


NAMED: Sequence[Factors] = (
    [(1, 1)] * 3, [(2, 1)] * 3, [(1, 2)] * 3, [(2, 2), (1, 1), (1, 1)], [(2, 1), (1, 1), (1, 1)],
    [(1, 2), (1, 1), (1, 1)], [(4, 1), (1, 1), (1, 1)], [(1, 4), (1, 1), (1, 1)], [(2, 2), (1, 2), (1, 2)],
    [(2, 2), (2, 1), (2, 1)],
)  # fmt: skip
UNNAMED: Sequence[Factors] = (
    [(4, 1), (2, 1), (2, 1)], [(2, 4), (1, 1), (1, 1)], [(4, 2), (1, 1), (1, 1)], [(1, 1), (2, 2), (2, 2)],
    [(2, 2), (2, 1), (1, 2)], [(2, 1), (1, 1), (2, 1)], [(3, 1), (1, 1), (1, 1)], [(1, 3), (1, 1), (1, 1)],
    [(2, 2), (2, 2), (1, 1)], [(1, 2), (2, 1), (1, 1)],
)  # fmt: skip


@pytest.mark.parametrize("factors", [*NAMED, *UNNAMED], ids=str)
def test_every_subsampling_that_pillow_decodes_is_decoded_alike(factors: Factors) -> None:
    image = smooth(100, 60)
    data = sampled(image, factors)
    got = decoded(data).astype(int)
    assert np.abs(got - by_pillow(data)).max() <= 8
    assert np.abs(got - np.asarray(image))[:, :, :2].mean() < 4
    for odd in ("no end marker", "JFIF 0.00", "zeros before the end", "a film after the end"):
        np.testing.assert_array_equal(decoded(ODD[odd](data)), got)
    np.testing.assert_array_equal(decoded(samsung(data, b"\0\0\0")), got)
    assert decoded(with_segments(data, icc(), exif(6))).shape == (100, 60, 3)
    for then in CUTS:
        assert "damaged JPEG" in refusal(CUTS[then](data[: len(data) * 3 // 4])), then


def stark(seed: int, width: int) -> bytes:
    """A picture of odd subsampling, whose scan has bytes of all kinds."""
    pixels = np.random.default_rng(seed).integers(0, 2, (8, width, 3), np.uint8) * np.uint8(255)
    return sampled(Image.fromarray(pixels), [(2, 1), (1, 1), (2, 1)])


def test_a_picture_of_odd_subsampling_may_end_with_two_equal_bytes() -> None:
    data = stark(85, 16)
    assert data[-3] == data[-4]
    np.testing.assert_array_equal(decoded(data), by_pillow(data))


def test_a_stuffed_byte_where_the_end_is_changed_makes_no_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stark(2, 160)
    encoded = data[scan_of(data) : -2]
    stuffed = [match.start() for match in re.finditer(b"\xff", encoded)]
    assert len(stuffed) > 1 and encoded.endswith(b"\xff\0")
    for at in stuffed:
        monkeypatch.setattr(jpeg_decoder, "REPLACED", len(encoded) - at - 1)
        np.testing.assert_array_equal(decoded(data), by_pillow(data))


@pytest.mark.parametrize(
    "factors", [[(4, 1), (1, 1), (1, 1)], [(1, 4), (1, 1), (1, 1)], *UNNAMED[:3]], ids=str
)
def test_large_pictures_of_odd_subsampling_look_the_same_decoded_small(factors: Factors) -> None:
    slopes = Image.merge("RGB", (*smooth(300, 200).split()[:2], Image.new("L", (300, 200), 90)))
    data = sampled(slopes, factors)
    fed = [np.asarray(DECODERS[mode](frame(data))) for mode in ("fast", "exact")]
    small, full = (DECODERS[mode].decode(frame(data)) for mode in ("fast", "exact"))
    want = np.asarray(Image.fromarray(full).resize(small.shape[1::-1], Image.Resampling.BOX), int)
    assert np.abs(small - want).mean() < 2
    assert fed[0].shape == fed[1].shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "factors", [[(3, 1), (2, 1), (1, 1)], [(3, 3), (1, 1), (1, 1)], [(2, 3), (2, 2), (2, 2)]], ids=str
)
def test_a_subsampling_that_nothing_decodes_is_named(factors: Factors) -> None:
    name = "_".join(f"{h}x{v}" for h, v in factors)
    said = refusal(sampled(smooth(64, 64), [(h, v) for h, v in factors] if factors[0] != (3, 3) else factors))
    assert said == f"unsupported JPEG: subsampling {name}; save it with 4:2:0"


def test_grey_pictures_may_have_any_sampling_factors() -> None:
    at = GREY.index(b"\xff\xc0") + 11
    for factors in (0x22, 0x21, 0x44):
        assert_same(GREY[:at] + bytes((factors,)) + GREY[at + 1 :], GREY)


def test_more_than_8_bits_are_named() -> None:
    at = BASE.index(b"\xff\xc0") + 4
    assert (
        refusal(BASE[:at] + b"\x0c" + BASE[at + 1 :]) == "unsupported JPEG: 12 bits a channel; save it with 8"
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


@pytest.mark.parametrize(
    ("name", "same_as"),
    [("samsung-sos-0-0.jpg", "base.jpg"), ("no-eoi.jpg", "base.jpg"), ("jfif-0.00.jpg", "base.jpg")],
)
def test_real_odd_pictures_are_read(name: str, same_as: str, shared: Path) -> None:
    folder = shared / "cases/pictures"
    assert_same((folder / name).read_bytes(), (folder / same_as).read_bytes())


@pytest.mark.parametrize(
    "name", ["samp-1x4_1x1_1x1.jpg", "samp-4x1_2x1_2x1.jpg", "exif6-after-xmp.jpg", "jfif-0.00.jpg"]
)
def test_real_odd_pictures_are_as_pillow_decodes_them(name: str, shared: Path) -> None:
    data = (shared / "cases/pictures" / name).read_bytes()
    assert np.abs(decoded(data) - by_pillow(data)).max() <= 8


def test_a_real_cut_picture_is_refused(shared: Path) -> None:
    data = (shared / "cases/pictures/tail-cut-8.jpg").read_bytes()
    for then in CUTS.values():
        assert "damaged JPEG" in refusal(then(data))


def test_real_odd_pictures_get_the_right_label(state: Path, shared: Path, tmp_path: Path) -> None:
    """Each is the same cup of espresso."""
    folder = shared / "cases/pictures"
    same = ["base.jpg", "samsung-sos-0-0.jpg", "no-eoi.jpg", "jfif-0.00.jpg"]
    turned = ["exif6.jpg", "exif6-after-xmp.jpg"]
    subsampled = ["samp-1x4_1x1_1x1.jpg", "samp-4x1_2x1_2x1.jpg"]
    for name in subsampled:
        Image.open(folder / name).save(tmp_path / f"{name}.png")
    names = [str(folder / name) for name in (*same, *turned, *subsampled)]
    done = run_incv3d(
        state, "classify", "--json", *names, *(str(each) for each in sorted(tmp_path.iterdir()))
    )
    assert done.returncode == 0, done.stderr
    best = [json.loads(line)["predictions"][0] for line in done.stdout.splitlines()]
    assert [each["label"] for each in best] == ["espresso"] * 10
    scores = [each["score"] for each in best]
    assert scores[:4] == pytest.approx([0.86541] * 4, abs=1e-4) and len(set(scores[:4])) == 1
    assert scores[4:6] == pytest.approx([0.848] * 2, abs=0.01) and scores[4] == scores[5]
    assert scores[6:8] == pytest.approx(scores[8:], abs=0.02), "not as Pillow decodes them"
