"""Decode unusual JPEGs as cameras and phones write them; reject truncated ones."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoded_jpegs import (
    ALL,
    BASE,
    CUTS,
    ODD,
    PROGRESSIVE,
    RESTARTS,
    assert_same,
    by_pillow,
    decoded,
    jpeg,
    refusal,
    samsung,
    without_jfif,
)
from incv3d.images.jpeg import segments
from jpegs import (
    EOI,
    adobe,
    jfif,
    scan_of,
    segment,
)
from processes import run_incv3d

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
