"""Store the pixels of many images in one file, for processes that run a network on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from incv3d.engines.base import Pixels


class PixelFile:
    """Network inputs, float32, one after the other.

    :param shape: of each input, ``(1, height, width, 3)``.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.shape = shape

    @property
    def image_bytes(self) -> int:
        """Size of one input."""
        return int(np.prod(self.shape)) * 4

    def append(self, pixels: Pixels) -> None:
        """Append an input."""
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(pixels, np.float32).data)

    def read(self, image: int) -> Pixels:
        """Return input number `image`, from 0.

        Read instead of mapped: mapped inputs would count as memory of the process.
        """
        elements = self.image_bytes // 4
        offset = image * self.image_bytes
        return np.fromfile(self.path, np.float32, elements, offset=offset).reshape(self.shape)
