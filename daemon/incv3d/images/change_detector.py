"""Whether a camera sees anything new: a cheap test on a much smaller copy of each picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from incv3d.engines.base import ImageArray

Cells = npt.NDArray[np.float32]
"""``(rows, columns, channels)``: the mean of every cell of a grid over the picture, in [0, 255]."""

MOST_CELLS = 32
"""Cells a side."""
LEAST_CELL_PIXELS = 10
"""A side of a cell: the mean of 100 pixels has a tenth of their noise. A small picture has fewer cells."""
LEVELS = 12.0
"""By how much of 255 a cell must differ to have changed. Noise of a standard deviation of 30, and a camera
that shakes by one pixel of 640, changed no more than one cell of 1024 in any of 41 photographs."""
MOST_FLICKER = 1.25
"""A light that grows or fades by more than this factor is something new."""
OVEREXPOSED = 235.0
"""A cell that is brighter in both pictures tells nothing: part of its pixels may be cut off at 255."""
NEARLY = 0.99
"""Of the longest pause: a frame on a fixed beat that comes a moment early must not cost a whole beat."""


class ChangeDetector:
    """Tells of each source whether its picture differs from the last one that was found new.

    It is compared with that one, and not with its predecessor, so that what changes slowly is seen too.
    Threads may share a test; of pictures of one source that they look at at once, both may be new.

    :param threshold: the fraction of the picture that must have changed.
    :param most_s: after so many seconds without anything new, the next picture counts as new.
    """

    def __init__(self, threshold: float, most_s: float) -> None:
        self._threshold = threshold
        self._most_s = most_s
        self._latest: dict[str, tuple[float, Cells]] = {}

    def is_news(self, source: str, now: float, picture: ImageArray) -> bool:
        """Whether `picture`, looked at at the moment `now` (monotonic), shows anything new."""
        cells = means(picture)
        latest = self._latest.get(source)
        is_due = latest is None or now - latest[0] >= self._most_s * NEARLY
        if latest and not is_due and changed_fraction(latest[1], cells) < self._threshold:
            return False
        self._latest[source] = (now, cells)
        return True

    def forget(self, source: str) -> None:
        """Let its next picture be new: nothing came of the last one."""
        self._latest.pop(source, None)


def means(picture: ImageArray) -> Cells:
    """The cells of `picture`, in the order in which they lie in memory: a turned view is not put in order."""
    for axis, step in enumerate(picture.strides):
        if step < 0:
            picture = np.flip(picture, axis)
    if picture.strides[0] < picture.strides[1]:
        picture = picture.swapaxes(0, 1)
    if picture.strides[2] == 0:  # grey, repeated
        picture = picture[:, :, 0]
    height, width = picture.shape[:2]
    rows, columns = (min(MOST_CELLS, max(1, side // LEAST_CELL_PIXELS)) for side in (height, width))
    image = Image.fromarray(np.ascontiguousarray(picture)).reduce((width // columns, height // rows))
    cells = np.asarray(image.resize((columns, rows), Image.Resampling.BOX), np.float32)
    return cells.reshape(rows, columns, -1)


def changed_fraction(before: Cells, now: Cells) -> float:
    """The fraction of cells that changed, apart from the whole picture growing a little brighter or darker.

    How much it did is the median over the cells, by channel, which something that enters does not move.
    """
    if before.shape != now.shape:
        return 1.0
    brightness = np.median((now + 1) / (before + 1), axis=(0, 1))
    expected = np.minimum(before * np.clip(brightness, 1 / MOST_FLICKER, MOST_FLICKER), 255)
    difference = np.abs(now - expected)
    difference[np.minimum(before, now) >= OVEREXPOSED] = 0
    return float((difference.max(axis=2) > LEVELS).mean())
