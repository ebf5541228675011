"""Find the familiarity below which a picture is unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from incv3d.models.taught.head import MAX_GALLERY, NEAREST
from incv3d.teaching.logistic import Bools, Floats, Indices

LEAST_SPREAD = 0.02
ROWS = 256
"""Pictures compared with the gallery at a time: this bounds the memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a head needs to refuse strangers."""

    gallery: Indices
    """Which pictures it compares with."""
    threshold: float
    spread: float
    familiarities: Floats
    """Of each picture, to those of other groups; NaN: there are none."""


def choose_gallery(y: Indices, seed: int) -> Indices:
    """Return the pictures to compare with: all, or an equal part of each class."""
    if len(y) <= MAX_GALLERY:
        return np.arange(len(y))
    order = np.random.default_rng(seed).permutation(len(y))
    rank = np.empty(len(y), np.intp)
    for label in np.unique(y):
        of_class = order[y[order] == label]
        rank[of_class] = np.arange(len(of_class))
    # The first of each class, then the second of each: small classes stay whole.
    return np.sort(order[np.argsort(rank[order], kind="stable")[:MAX_GALLERY]])


def familiarities(unit: Floats, groups: Indices, gallery: Indices) -> Floats:
    """Return the mean cosine of each picture to the nearest of the gallery that are not of its group.

    NaN for a picture if the gallery has nothing but its group.
    """
    taught, taught_groups = unit[gallery], groups[gallery]
    found = np.empty(len(unit), np.float32)
    nearest = min(NEAREST, len(taught))
    for start in range(0, len(unit), ROWS):
        rows = slice(start, start + ROWS)
        cosines = unit[rows] @ taught.T
        cosines[groups[rows, np.newaxis] == taught_groups] = -np.inf
        best = np.partition(cosines, -nearest, axis=1)[:, -nearest:]
        counts = np.isfinite(best).sum(axis=1)
        sums = np.where(np.isfinite(best), best, 0).sum(axis=1)
        found[rows] = np.where(counts, sums / np.maximum(counts, 1), np.nan)
    return found


def familiarity_to(gallery: Floats, unit: Floats) -> Floats:
    """Return the mean cosine of normalized features, one row a picture, to the nearest of `gallery`."""
    nearest = min(NEAREST, len(gallery))
    return np.concatenate(
        [
            np.partition(unit[start : start + ROWS] @ gallery.T, -nearest, axis=1)[:, -nearest:].mean(axis=1)
            for start in range(0, len(unit), ROWS)
        ]
    )


def find_limits(unit: Floats, y: Indices, groups: Indices, asked: Bools, lost: float, seed: int) -> Limits:
    """Return the limits at which a share `lost` of known pictures is refused, if their groups were not
    taught.

    :param unit: normalized features, one row a picture.
    :param asked: which pictures have others of their class in another group. If none has, pictures are
        compared with those of the other classes, so that whatever is as strange as these are to each other is
        refused.
    """
    gallery = choose_gallery(y, seed)
    known = familiarities(unit, groups, gallery)
    counted = known[asked if asked.any() else slice(None)]
    counted = counted[np.isfinite(counted)]
    if not len(counted):
        return Limits(gallery, -1.0, 1.0, known)
    # Of `n` pictures, the k-th smallest loses k / (n + 1) of new ones, on average.
    threshold = float(np.quantile(counted, lost, method="weibull"))
    spread = max(float(np.median(counted)) - threshold, LEAST_SPREAD) / 4
    return Limits(gallery, threshold, spread, known)
