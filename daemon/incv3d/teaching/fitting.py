"""Choose whether the network sees the whole picture, stretched to its square, or the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from incv3d.teaching.dataset import FoundFiles, ImageFile, evenly
from incv3d.teaching.estimate import brier, choose, split
from incv3d.teaching.examples import TeachingArrays, to_arrays
from incv3d.teaching.features import Collected
from incv3d.teaching.logistic import span_of
from incv3d.teaching.training import SEED

Fit = Literal["stretch", "crop"]
MOST_TRIED = 100
"""Pictures of each class that are looked at in both ways."""


def choose_fit(own: Fit, files: FoundFiles, look: Callable[[Fit, FoundFiles], Collected]) -> Fit:
    """Return the way in which left-out pictures are recognized better; `own` unless the other one surely is.

    The middle shows more of a thing that is there; a thing at the edge is only in the whole picture.

    :param own: how the network was trained.
    :param look: collects pictures.
    :raises TeachingError: as the collecting does.
    """
    sample = FoundFiles(tuple(_sample(files)))
    other: Fit = "crop" if own == "stretch" else "stretch"
    arrays = [to_arrays(look(fit, sample).examples) for fit in (own, other)]
    losses = [_losses(each, arrays[0]) for each in arrays]
    share = 1.0 / np.bincount(arrays[0].y)[arrays[0].y]
    share /= share.sum()
    gains = losses[0] - losses[1]
    gain = float(share @ gains)
    deviations = np.bincount(arrays[0].groups, weights=share * (gains - gain))
    return other if gain > float(np.sqrt(np.square(deviations).sum())) else own


def _sample(files: FoundFiles) -> list[ImageFile]:
    by_class: dict[str, list[ImageFile]] = {}
    for each in files.files:
        by_class.setdefault(each.label, []).append(each)
    return [
        each for of_class in by_class.values() for each in evenly(of_class, min(MOST_TRIED, len(of_class)))
    ]


def _losses(pictures: TeachingArrays, like: TeachingArrays) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the loss of each picture when it is left out, with the groups of `like`."""
    classes = len(like.classes)
    fold = split(like.y, like.groups, SEED)
    choice = choose(span_of(pictures.unit).coordinates, like.y, like.groups, classes, fold)
    losses = brier(choice.left_out.logits * np.float32(choice.scale), like.y)
    return np.where(choice.left_out.asked, losses, 0.0)
