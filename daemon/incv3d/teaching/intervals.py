"""State shares with their uncertainty."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from incv3d.teaching.logistic import Floats, Indices

NORMAL_95 = 1.96


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share of pictures, such as an accuracy, with its 95 % interval."""

    value: float
    low: float
    high: float
    images: int = msgspec.field(name="pictures")
    groups: int
    """Their groups, on which the interval depends: a hundred pictures of one group prove little."""

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.0%} to {self.high:.0%})"


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a share that was found in `count` independent trials.

    Wilson's interval (1927) with a correction for continuity, because the trials are few (Newcombe:
    Two-sided confidence intervals for the single proportion, 1998, method 4).
    """
    if count <= 0:
        return 0.0, 1.0
    square, twice = NORMAL_95**2, 2 * (count + NORMAL_95**2)

    def end(share: float) -> float:
        """Return the lower end; the upper one is that of the other share, from 1."""
        spread = square - 1 / count + 4 * count * share * (1 - share) + 4 * share - 2
        return (2 * count * share + square - 1 - NORMAL_95 * math.sqrt(max(0.0, spread))) / twice

    return max(0.0, min(end(share), share)), min(1.0, max(1 - end(1 - share), share))


def share_of(hits: Floats, groups: Indices, overlap: float = 0.0) -> Share | None:
    """Return the mean of `hits`, 0 or 1 a picture, with an interval that allows for groups.

    None if there are no pictures.

    Pictures of one group are counted as fully dependent: the number of trials is the effective size of a
    sample in clusters, ``(sum of sizes)^2 / (sum of squared sizes)`` (Kish: Survey Sampling, 1965).

    :param overlap: for left-out pictures: how many there are in a fold, relative to those that teach. Heads
        of different folds share most of their pictures, so that the variance is larger by this share (Nadeau,
        Bengio: Inference for the generalization error, 2003).
    """
    if not len(hits):
        return None
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    value = float(hits.mean(dtype=np.float64))
    low, high = wilson(value, float(sizes.sum() ** 2 / np.square(sizes).sum()) / (1 + overlap))
    return Share(value=value, low=low, high=high, images=len(hits), groups=len(sizes))
