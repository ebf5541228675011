"""Photographs as a cheap camera takes them, and things that enter them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from incv3d.engines.base import ImageArray

SIZE = WIDTH, HEIGHT = 640, 480


class Camera:
    """Takes a scene as a cheap camera does: noise on every pixel, the light a little different each time."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def take(self, scene: ImageArray, noise: float, light: float = 1.0, band: float = 0.0) -> ImageArray:
        """A frame, after a JPEG of it.

        :param noise: standard deviation, of 255.
        :param band: how much brighter than the mean the bands of a flickering lamp are.
        """
        rows = np.arange(len(scene)) / len(scene)
        lamp = light * (1 + band * np.sin(2 * np.pi * (3 * rows + self._random.random())))
        seen = scene * lamp[:, None, None] + self._random.normal(0, noise, scene.shape)
        out = io.BytesIO()
        Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=75)
        return np.asarray(Image.open(out))


def with_something(scene: ImageArray, other: ImageArray, area: float, at: Sequence[float]) -> ImageArray:
    """`scene` with a disc of `other` on it, which covers `area` of it, its centre `at` x and y of it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    radius = (area * WIDTH * HEIGHT / np.pi) ** 0.5
    column, row = (radius + at[0] * (WIDTH - 2 * radius)), (radius + at[1] * (HEIGHT - 2 * radius))
    disc = (x - column) ** 2 + (y - row) ** 2 < radius**2
    return np.where(disc[:, :, None], other, scene)
