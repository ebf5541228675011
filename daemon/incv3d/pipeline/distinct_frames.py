"""Keep distinct frames of a source in memory, spread over a period, as small JPEGs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from incv3d.engines.base import ImageArray
from incv3d.frames import Frame
from incv3d.images.change_detector import Cells, cell_means, changed_fraction
from incv3d.images.encode import encode_jpeg

LOOKS = 480
"""How often a source is looked at in one period."""
DISTINCT = 0.02
"""Fraction of the cells that must differ from every frame kept. Twice what ``source.change_threshold`` takes
as a change by default: a network's ranges need scenes that differ, not leaves that move."""
DARK = 24.0
"""A frame without a cell that is this bright, of 255, shows nothing. Black is 16 for some cameras."""
BLANK = 3.0
"""A frame whose cells have a standard deviation below this shows nothing, either: a covered lens, fog."""
SIDES = 2
"""A frame is reduced to about this many times the side of the network's input, squared: preprocessing then
finds all that the network can see."""
QUALITY = 92


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame that is kept."""

    at: float
    """When it was looked at (monotonic)."""
    jpeg: bytes
    """The upright image, or its region, with all that the network can see."""
    cells: Cells


class DistinctFrames:
    """Distinct frames of a source, evenly spread over a period, however long that is.

    A source is looked at every ``period_s / LOOKS`` seconds. Of more than `most` frames, one of the two that
    are closest in time is dropped, the earliest such pair first: so they stay spread over all the time.
    For one thread at a time, but :meth:`is_due` may be called from any.

    :param most: maximum number of frames; of 100, each with twice the side of 299 pixels, typically 8 MB.
    :param period_s: the time over which they are spread.
    """

    def __init__(self, most: int, period_s: float) -> None:
        self._most = most
        self._interval_s = period_s / LOOKS
        self._kept: list[KeptFrame] = []
        self._next: dict[str, float] = {}
        self.looks = self.dark = 0
        """Number of frames looked at, and of those that were dark or blank."""

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def jpegs(self) -> list[bytes]:
        """Return the images, in the order of their times."""
        return [each.jpeg for each in self._kept]

    def is_due(self, source: str, now: float) -> bool:
        """Return whether to look at a frame of `source`, which may be a region, at `now` (monotonic)."""
        return now >= self._next.get(source, -math.inf)

    def look(self, source: str, now: float, image: ImageArray, side: int) -> bool:
        """Keep `image` if it shows something, and something else than those that are kept.

        :param image: ``(height, width, 3) uint8`` RGB, upright.
        :param side: the side of the network's input in pixels.
        :returns: whether it is a distinct one.
        """
        self._next[source] = now + self._interval_s
        self.looks += 1
        cells = cell_means(image)
        if cells.max() < DARK or cells.std() < BLANK:
            self.dark += 1
            return False
        if any(changed_fraction(each.cells, cells) < DISTINCT for each in self._kept):
            return False
        self._kept.append(KeptFrame(now, encode_jpeg(_reduced(image, side), QUALITY), cells))
        if len(self._kept) > self._most:
            gaps = [later.at - each.at for each, later in itertools.pairwise(self._kept)]
            del self._kept[gaps.index(min(gaps)) + 1]
        return True


def frame_of(jpeg: bytes) -> Frame:
    """Return a frame with one of the images."""
    return Frame("tuning", jpeg, "jpeg", received=0.0, captured=0.0)


def _reduced(image: ImageArray, side: int) -> ImageArray:
    factor = math.ceil(math.sqrt(image.shape[0] * image.shape[1]) / (SIDES * side))
    if factor < 2:
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).reduce(factor))
