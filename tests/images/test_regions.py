"""Rotate images and crop regions."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from incv3d.frames import Encoding, Region, Transform
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import resize_bilinear
from sample_images import INCEPTION, PREPARE, encoded, frame, smooth


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_their_exif_says(format_: str, orientation: int) -> None:
    image = smooth(48, 32)
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, format_, exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), int)
    assert np.abs(PREPARE.decode(frame(data)) - want).max() <= (0 if format_ == "PNG" else 30)


TURNS: dict[Transform, Image.Transpose | None] = {
    "none": None,
    "hflip": Image.Transpose.FLIP_LEFT_RIGHT,
    "vflip": Image.Transpose.FLIP_TOP_BOTTOM,
    "rotate90": Image.Transpose.ROTATE_270,  # Pillow counts against the clock
    "rotate180": Image.Transpose.ROTATE_180,
    "rotate270": Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("encoding", ["png", "rgb24", "bgr24", "gray8"])
@pytest.mark.parametrize("transform", TURNS)
def test_pictures_are_turned_clockwise_and_cut_as_they_are_then_seen(
    transform: Transform, encoding: Encoding
) -> None:
    image = smooth(48, 32)
    if encoding == "gray8":
        image = image.convert("L").convert("RGB")
    pixels = np.asarray(image)
    raw = {"rgb24": pixels, "bgr24": pixels[:, :, ::-1], "gray8": pixels[:, :, :1]}
    size = (48, 32) if encoding in raw else (0, 0)
    data = raw[encoding].tobytes() if encoding in raw else encoded(image, "PNG")
    sent = replace(frame(data, encoding, *size), transform=transform)
    turn = TURNS[transform]
    want = image.transpose(turn) if turn is not None else image
    np.testing.assert_array_equal(PREPARE.decode(sent), np.asarray(want))
    corner = replace(sent, region=Region(0.5, 0.0, 0.5, 0.25))
    width, height = want.size
    cut = want.crop((width // 2, 0, width, height // 4))
    np.testing.assert_array_equal(PREPARE.decode(corner), np.asarray(cut))
    np.testing.assert_allclose(
        PREPARE(corner)[0] * 128 + 128, resize_bilinear(np.asarray(cut), 299, 299), atol=1e-3
    )


def test_a_picture_is_upright_by_its_exif_before_it_is_turned() -> None:
    image = smooth(48, 32)
    exif = image.getexif()
    exif[0x0112] = 6
    sent = replace(frame(encoded(image, "PNG", exif=exif)), transform="rotate90")
    np.testing.assert_array_equal(
        PREPARE.decode(sent), np.asarray(image.transpose(Image.Transpose.ROTATE_180))
    )


@pytest.mark.parametrize(
    ("region", "transform", "orientation", "shape"),
    [
        (None, "none", 1, (600, 750)),  # 3/8: the least eighths of 2000x1600 that cover twice 299
        (Region(0, 0, 1, 1), "none", 1, (600, 750)),
        (Region(0.5, 0.5, 0.5, 0.5), "none", 1, (800, 1000)),  # no half would do
        (Region(0, 0, 0.125, 0.125), "none", 1, (200, 250)),  # no more is there
        (Region(0.2, 0, 0.6, 1), "none", 1, (800, 600)),  # 1/2
        (Region(0.2, 0, 0.8, 1), "none", 1, (600, 600)),
        (Region(0, 0.2, 1, 0.6), "rotate90", 1, (600, 800)),
        (Region(0, 0.2, 1, 0.6), "none", 6, (600, 800)),
        (Region(0.2, 0, 0.6, 1), "rotate270", 8, (800, 600)),
        (Region(0, 0, 1e-9, 1e-9), "none", 1, (1, 1)),
    ],
)
def test_a_small_region_of_a_large_jpeg_keeps_its_detail(region, transform, orientation, shape) -> None:
    image = smooth(2000, 1600)
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=90, exif=exif)
    sent = replace(frame(data), transform=transform, region=region)
    got = PREPARE.decode(sent)
    assert got.shape == (*shape, 3)
    whole = Preprocessor(INCEPTION, 4_000_000, "exact").decode(replace(sent, region=None))
    want = Image.fromarray(np.ascontiguousarray(whole))
    if region:
        want = want.crop(region.box(*want.size))
    want = want.resize(shape[::-1], Image.Resampling.BOX)
    slopes = np.abs(got.astype(int) - np.asarray(want, int))[:, :, :2]
    assert slopes.mean() < 2, "another part of the picture"


def test_exact_cuts_the_full_picture_and_resizes_only_then() -> None:
    image = smooth(2000, 1600)
    data = encoded(image, "JPEG", quality=90)
    exact = Preprocessor(INCEPTION, 4_000_000, "exact")
    whole = exact.decode(frame(data))
    got = exact(replace(frame(data), region=Region(0.1, 0.25, 0.5, 0.5)))
    want = (resize_bilinear(whole[400:1200, 200:1200], 299, 299) - 128) / 128
    np.testing.assert_allclose(got[0], want, atol=1e-6)


def test_a_graph_that_decodes_by_itself_is_fed_the_region_decoded() -> None:
    data = encoded(smooth(400, 320), "JPEG")
    graph = Preprocessor(INCEPTION, 4_000_000, "graph")
    whole = graph.decode(frame(data))
    assert graph(frame(data)) == data
    part = graph(replace(frame(data), region=Region(0.5, 0.5, 0.5, 0.5)))
    np.testing.assert_array_equal(part, whole[160:, 200:])
    turned = graph(replace(frame(data), transform="rotate180"))
    np.testing.assert_array_equal(turned, whole[::-1, ::-1])
    assert turned.flags.c_contiguous
