"""Generate sample images for trial runs of a network: noise, gray and photographs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from incv3d.engines.base import Pixels
from incv3d.models.bundled import PICTURES, bundled_image

SEEDS = (1, 2)
"""Seeds of the noise."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by number of channels."""
Limits = float | npt.ArrayLike
"""One number, or one per channel."""


def sample_pixels(
    shape: tuple[int, ...],
    layout: Literal["nhwc", "nchw"],
    low: Limits,
    high: Limits,
    seeds: Iterable[int] = SEEDS,
) -> Iterator[tuple[str, Pixels]]:
    """Yield names and images as network input: noise, uniform gray, two photographs.

    A seed always gives the same noise.

    :param shape: shape of the input, ``(1, height, width, channels)``, or ``(1, channels, height, width)``
        with the layout ``nchw``.
    :param low: the value that a pixel of 0 becomes.
    :param high: the value that a pixel of 255 becomes.
    :param seeds: seeds of the noise, one image for each.
    """
    channels, height, width = shape[1:] if layout == "nchw" else (shape[3], shape[1], shape[2])
    bottom, span = np.asarray(low, np.float32), np.subtract(high, low).astype(np.float32)
    for name, image in _images(height, width, channels, seeds):
        pixels = (image.astype(np.float32) / 255 * span + bottom)[np.newaxis]
        yield name, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if layout == "nchw" else pixels)


def _images(
    height: int, width: int, channels: int, seeds: Iterable[int]
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    for seed in seeds:
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
        yield f"noise {seed}", noise
    yield "grey", np.full((height, width, channels), 128, np.uint8)
    for name in PICTURES:
        with Image.open(io.BytesIO(bundled_image(name))) as photograph:
            resized = photograph.convert(MODES.get(channels, "L")).resize((width, height))
        yield name, np.broadcast_to(np.asarray(resized).reshape(height, width, -1), (height, width, channels))
