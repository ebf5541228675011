"""Decode JPEGs with any subsampling."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from decoded_jpegs import (
    CUTS,
    DECODERS,
    GREY,
    ODD,
    assert_same,
    by_pillow,
    decoded,
    frame,
    refusal,
    samsung,
    smooth,
)
from incv3d.images import jpeg_decoder
from jpegs import (
    Factors,
    exif,
    icc,
    sampled,
    scan_of,
    with_segments,
)

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
