"""Detect whether a camera's image has changed, by comparing small copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from incv3d.config.source import SourceSection
from incv3d.engines.base import ImageArray

Cells = npt.NDArray[np.float32]
"""``(rows, columns, channels)``: the mean of each cell of a grid over the image, in [0, 255]."""

MOST_CELLS = 32
"""Cells per side."""
LEAST_CELL_PIXELS = 10
"""Side of a cell: the mean of 100 pixels has a tenth of their noise. A small image has fewer cells."""
LEVELS = 12.0
"""The difference, of 255, from which a cell has changed. With noise of a standard deviation of 30, or a
camera that shakes by one pixel of 640, at most one cell of 1024 changed in any of 41 photographs."""
MOST_FLICKER = 1.25
"""Brightness that changes by more than this factor counts as a change."""
OVEREXPOSED = 235.0
"""Cells brighter than this in both images are ignored: some of their pixels may be clipped at 255."""
NEARLY = 0.99
"""Fraction of the longest pause. Without it, a periodic frame that arrives a moment early would cost a whole
period."""


@dataclass(frozen=True, slots=True)
class ChangeLimits:
    """What counts as a change."""

    threshold: float
    """Fraction of the image that must have changed."""
    most_s: float
    """The longest pause: after it, the next image counts as new."""


class ChangeDetector:
    """Detects, per source, whether an image differs from the last one that was found new.

    Images are compared with that one, not with their predecessor, so that slow changes are found, too.
    Threads may share a detector; if they check two images of one source at once, both may be new.

    :param limits: by the name of the camera; every image of another one counts as new.
    """

    def __init__(self, limits: Mapping[str, ChangeLimits]) -> None:
        self._limits = limits
        self._latest: dict[str, tuple[float, Cells]] = {}

    def looks_at(self, source: str) -> bool:
        """Return whether images of `source`, a camera or a region of one, are compared."""
        return source.partition(".")[0] in self._limits

    def has_changed(self, source: str, now: float, image: ImageArray) -> bool:
        """Return whether `image`, checked at `now` (monotonic), shows anything new."""
        limits = self._limits[source.partition(".")[0]]
        cells = cell_means(image)
        latest = self._latest.get(source)
        is_due = latest is None or now - latest[0] >= limits.most_s * NEARLY
        if latest and not is_due and changed_fraction(latest[1], cells) < limits.threshold:
            return False
        self._latest[source] = (now, cells)
        return True

    def forget(self, source: str) -> None:
        """Treat the source's next image as new, because the last one was not classified."""
        self._latest.pop(source, None)


def create_change_detector(sources: Iterable[SourceSection]) -> ChangeDetector | None:
    """Create what finds unchanged frames of `sources`; None: it is configured for none of them."""
    limits = {
        each.name: ChangeLimits(each.change_threshold, each.unchanged_max_s)
        for each in sources
        if each.skip_unchanged
    }
    return ChangeDetector(limits) if limits else None


def cell_means(image: ImageArray) -> Cells:
    """Return the cells of `image` in memory order; a rotated view is not reordered."""
    for axis, step in enumerate(image.strides):
        if step < 0:
            image = np.flip(image, axis)
    if image.strides[0] < image.strides[1]:
        image = image.swapaxes(0, 1)
    if image.strides[2] == 0:  # gray, repeated
        image = image[:, :, 0]
    height, width = image.shape[:2]
    rows, columns = (min(MOST_CELLS, max(1, side // LEAST_CELL_PIXELS)) for side in (height, width))
    reduced = Image.fromarray(np.ascontiguousarray(image)).reduce((width // columns, height // rows))
    cells = np.asarray(reduced.resize((columns, rows), Image.Resampling.BOX), np.float32)
    return cells.reshape(rows, columns, -1)


def changed_fraction(before: Cells, now: Cells) -> float:
    """Return the fraction of cells that changed, ignoring a slight change of the overall brightness.

    The overall change is the median over the cells, per channel, which a new object does not move.
    """
    if before.shape != now.shape:
        return 1.0
    brightness = np.median((now + 1) / (before + 1), axis=(0, 1))
    expected = np.minimum(before * np.clip(brightness, 1 / MOST_FLICKER, MOST_FLICKER), 255)
    difference = np.abs(now - expected)
    difference[np.minimum(before, now) >= OVEREXPOSED] = 0
    return float((difference.max(axis=2) > LEVELS).mean())
