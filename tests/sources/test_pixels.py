"""Cameras' pixel layouts: the padding is cut, YUYV becomes the RGB that it means."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.sources.pixels import without_padding, yuyv_to_rgb


def test_rows_are_cut_to_their_pixels() -> None:
    rows = b"aaa..bbb..ccc.."
    assert without_padding(rows, 3, 3, 5) == b"aaabbbccc"
    assert without_padding(rows[:-2], 3, 3, 5) == b"aaabbbccc", "the last row may lack its padding"
    assert without_padding(memoryview(b"aaabbb" + b"more"), 2, 3, 3) == b"aaabbb"
    with pytest.raises(ValueError, match="too few"):
        without_padding(rows[:-3], 3, 3, 5)


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [  # colour bars of 100 %, as BT.601 has them
        ((235, 128, 128), (255, 255, 255)),
        ((16, 128, 128), (0, 0, 0)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
        ((210, 16, 146), (255, 255, 0)),
    ],
)
def test_the_colours_of_bt_601_come_out(yuv, rgb) -> None:
    y, u, v = yuv
    pixels = np.frombuffer(yuyv_to_rgb(bytes([y, u, y, v] * 6), 4, 3), np.uint8)
    assert np.abs(pixels.reshape(12, 3).astype(int) - rgb).max() <= 2


@given(st.integers(1, 16), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_it_agrees_with_the_formula_of_bt_601(pairs: int, height: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, (height, pairs, 4), dtype=np.uint8)
    got = np.frombuffer(yuyv_to_rgb(data.tobytes(), 2 * pairs, height), np.uint8).reshape(height, -1, 3)
    luma = np.clip((data[:, :, 0::2].reshape(height, -1).astype(float) - 16) * 255 / 219, 0, 255)
    u, v = (
        np.clip((np.repeat(data[:, :, plane], 2, axis=1).astype(float) - 128) * 255 / 224, -128, 127)
        for plane in (1, 3)
    )
    red, green, blue = luma + 1.402 * v, luma - 0.344136 * u - 0.714136 * v, luma + 1.772 * u
    expected = np.clip(np.stack([red, green, blue], axis=2), 0, 255)
    assert np.abs(got - expected).max() <= 3, "three roundings to a byte"


def test_a_hue_stays_that_hue() -> None:
    # A green of medium brightness, sent by a camera: Y 112, U 90, V 80.
    red, green, blue = yuyv_to_rgb(bytes([112, 90, 112, 80]), 2, 1)[:3]
    hue = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)[0]
    assert hue == pytest.approx(120 / 360, abs=0.05)
