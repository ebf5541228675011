"""Raw YUV of cameras becomes the RGB that it means, wherever a frame's pixels are needed."""

from __future__ import annotations

import colorsys
import io
from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from incv3d.events.labelled_image import ImageToSave, rendered
from incv3d.frames import YUV_ENCODINGS, Colours, Frame, Prediction, Transform, YuvEncoding
from incv3d.images import yuv
from incv3d.images.annotate import decode_image
from incv3d.images.change_detector import ChangeDetector, ChangeLimits
from incv3d.images.decode_cost import is_large
from incv3d.images.encode import encode_image, encode_thumbnail
from incv3d.images.preprocess import ImageError, ImageTooLarge, Preprocessor
from incv3d.images.resize import InputSpec, turn_upright
from incv3d.protocol import messages
from incv3d.transports.mqtt.publisher import upright_jpeg

EXACT = Preprocessor(InputSpec(24, 24, 0.0, 1.0, "stretch", 1.0, "bilinear"), 1_000_000)
GREEN, RED = (112, 90, 80), (81, 90, 240)
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def packed(luma: np.ndarray, blue: np.ndarray, red: np.ndarray, encoding: YuvEncoding) -> bytes:
    """A picture with chroma of its own for every pixel, which is taken from every second pixel, and row."""
    if encoding in yuv.PACKED:
        order = {"yuyv": "YUyV", "yvyu": "YVyU", "uyvy": "UYVy", "vyuy": "VYUy"}[encoding]
        bands = {"Y": luma[:, 0::2], "y": luma[:, 1::2], "U": blue[:, 0::2], "V": red[:, 0::2]}
        return np.stack([bands[each] for each in order], axis=2).tobytes()
    half_blue, half_red = blue[0::2, 0::2], red[0::2, 0::2]
    if encoding in ("yu12", "yv12"):
        chroma = [half_blue, half_red] if encoding == "yu12" else [half_red, half_blue]
        return luma.tobytes() + b"".join(each.tobytes() for each in chroma)
    pair = (half_blue, half_red) if encoding == "nv12" else (half_red, half_blue)
    return luma.tobytes() + np.stack(pair, axis=2).tobytes()


def even(encoding: YuvEncoding, *colours: tuple[int, int, int], size: int = 32) -> Frame:
    """A frame of vertical bars, each of one colour (Y, Cb, Cr)."""
    bars = np.repeat(np.array(colours, np.uint8)[None], size, axis=0)
    pixels = np.repeat(bars, size // len(colours), axis=1)
    data = packed(pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2], encoding)
    return Frame("camera", data, encoding, 0.0, 0.0, size, size)


def expected_rgb(luma: np.ndarray, blue: np.ndarray, red: np.ndarray, colours: str) -> np.ndarray:
    """By the formulas of ITU-R BT.601, BT.709 and BT.2020."""
    name, _, full = colours.partition("-")
    of_red, of_blue = WEIGHTS[name]
    y = luma.astype(float) if full else (luma.astype(float) - 16) * 255 / 219
    u, v = ((each.astype(float) - 128) * (1 if full else 255 / 224) for each in (blue, red))
    r, b = y + 2 * (1 - of_red) * v, y + 2 * (1 - of_blue) * u
    g = (y - of_red * r - of_blue * b) / (1 - of_red - of_blue)
    return np.clip(np.stack([r, g, b], axis=2), 0, 255)


@pytest.mark.parametrize("encoding", YUV_ENCODINGS)
@settings(max_examples=10)
@given(
    width=st.integers(1, 8),
    height=st.integers(1, 6),
    colours=st.sampled_from([each for each in get_args(Colours) if "240m" not in each]),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_agrees_with_the_formulas(
    encoding: YuvEncoding, width: int, height: int, colours: Colours, seed: int
) -> None:
    random = np.random.default_rng(seed)
    luma = random.integers(0, 256, (2 * height, 2 * width), dtype=np.uint8)
    rows = 1 if encoding in yuv.PACKED else 2
    blue, red = (
        random.integers(0, 256, (2 * height // rows, width), dtype=np.uint8)
        .repeat(2, axis=1)
        .repeat(rows, axis=0)
        for _ in range(2)
    )
    data = packed(luma, blue, red, encoding)
    got = yuv.to_rgb(data, encoding, 2 * width, 2 * height, colours)
    assert got.shape == (2 * height, 2 * width, 3)
    assert np.abs(got - expected_rgb(luma, blue, red, colours)).max() <= 1


@pytest.mark.parametrize("encoding", YUV_ENCODINGS)
@pytest.mark.parametrize(
    ("colour", "rgb"),
    [  # colour bars of 100 %, as BT.601 has them
        ((235, 128, 128), (255, 255, 255)),
        ((16, 128, 128), (0, 0, 0)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
        ((210, 16, 146), (255, 255, 0)),
    ],
)
def test_the_colours_of_bt_601_come_out(encoding: YuvEncoding, colour, rgb) -> None:
    pixels = EXACT.decode(even(encoding, colour))
    assert np.abs(pixels.astype(int) - rgb).max() <= 2


def test_a_hue_stays_that_hue() -> None:
    # A green of medium brightness, sent by a camera: Y 112, U 90, V 80.
    red, green, blue = EXACT.decode(even("yuyv", GREEN))[0, 0].tolist()
    hue = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)[0]
    assert hue == pytest.approx(120 / 360, abs=0.05)


@pytest.mark.parametrize("encoding", YUV_ENCODINGS)
def test_odd_sizes_come_out_whole(encoding: YuvEncoding) -> None:
    data = bytes(128 for _ in range(yuv.size_bytes(encoding, 5, 3)))
    assert yuv.to_rgb(data, encoding, 5, 3, "bt601-full").tolist() == [[[128] * 3] * 5] * 3


@pytest.mark.parametrize("encoding", YUV_ENCODINGS)
def test_a_frame_of_another_length_is_refused(encoding: YuvEncoding) -> None:
    frame = even(encoding, GREEN)
    for data in (frame.data[:-1], bytes(frame.data) + b"\0"):
        with pytest.raises(ImageError, match=f"32x32 {encoding} is [0-9]+ bytes, got {len(data)}"):
            EXACT.decode(Frame("camera", data, encoding, 0.0, 0.0, 32, 32))
    with pytest.raises(ImageTooLarge):
        EXACT.decode(Frame("camera", b"", encoding, 0.0, 0.0, 8000, 8000))


@pytest.mark.parametrize("encoding", YUV_ENCODINGS)
@pytest.mark.parametrize("transform", ["none", "rotate90"])
def test_it_is_shown_kept_and_compared_like_any_frame(encoding: YuvEncoding, transform: Transform) -> None:
    plain = even(encoding, GREEN, RED)
    frame = Frame("camera", plain.data, encoding, 0.0, 0.0, 32, 32, transform=transform)
    as_it_hangs = turn_upright(EXACT.decode(plain), 1 if transform == "none" else 6)
    assert np.array_equal(EXACT.decode(frame), as_it_hangs) and np.array_equal(
        decode_image(frame, 10**6), as_it_hangs
    )
    label = Prediction(0, "", "label", 0.9)
    kept = rendered(ImageToSave(frame, 0.0, "match", (label,), (label,), "model"))
    for jpeg in (encode_image(frame, 10**6), encode_thumbnail(frame, 10**6), upright_jpeg(frame, 10**6)):
        shown = np.asarray(Image.open(io.BytesIO(jpeg)))
        assert np.abs(shown[4::23, 4::23].astype(int) - as_it_hangs[4::23, 4::23]).max() < 25
    stored = np.asarray(Image.open(io.BytesIO(kept.data)))
    assert kept.suffix == ".jpg" and np.abs(stored[4, 4].astype(int) - EXACT.decode(plain)[4, 4]).max() < 25
    changes = ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)})
    assert changes.has_changed("camera", 0.0, EXACT.decode(frame))
    assert not changes.has_changed("camera", 1.0, EXACT.decode(frame))
    assert not is_large(frame)


@pytest.mark.parametrize("encoding", YUV_ENCODINGS)
def test_no_sender_may_name_it(encoding: str) -> None:
    header = msgspec.json.encode({"v": 1, "encoding": encoding, "width": 4, "height": 4})
    with pytest.raises(messages.BadRequest, match="bad header"):
        messages.parse([header, bytes(32)], messages.Clocks(0.0, 0.0), 0, 1000)
