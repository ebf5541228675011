"""The pixels of many pictures in one file, for processes that run a network on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from incv3d.engines.base import Pixels


class PixelFile:
    """Pictures as a network takes them, float32, one after the other.

    :param shape: of each, ``(1, height, width, 3)``.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.shape = shape

    @property
    def picture_bytes(self) -> int:
        """Size of one picture."""
        return int(np.prod(self.shape)) * 4

    def append(self, pixels: Pixels) -> None:
        """Write one picture more."""
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(pixels, np.float32).data)

    def read(self, picture: int) -> Pixels:
        """The picture of that number, from 0.

        It is read, not mapped: mapped, every picture would count as memory that the process uses.
        """
        elements = self.picture_bytes // 4
        offset = picture * self.picture_bytes
        return np.fromfile(self.path, np.float32, elements, offset=offset).reshape(self.shape)
