"""Infer the pixel range that a network's own normalization expects from what it makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]
Floats = npt.NDArray[np.float64]

RANGES: tuple[Range, ...] = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
LARGEST_OFFSET = 0.6
"""The largest distance of the middle of the output range from 0, relative to its span: 0.5 for [0, 1]."""
CLEAR_LEAD = 0.1
"""How much closer to 0 the middle must be for one range than for the others."""


def infer_range(scale: Floats, offset: Floats) -> Range | None:
    """Return the pixel range for which ``pixel * scale + offset``, per channel, yields a usual range.

    Usual ranges are about [0, 1], [-1, 1], a few standard deviations, or the steps of a byte.
    """
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return None
    offsets = {}
    for low, high in RANGES:
        first, last = low * scale + offset, high * scale + offset
        span = float(np.abs(last - first).mean())
        away = float(np.abs(first + last).mean()) / 2
        if (0.5 <= span <= 60 or 200 <= span <= 300) and away <= LARGEST_OFFSET * span:
            offsets[low, high] = away / span
    best = sorted(offsets, key=lambda each: offsets[each])
    if not best or (len(best) > 1 and offsets[best[1]] - offsets[best[0]] < CLEAR_LEAD):
        return None
    return best[0]
