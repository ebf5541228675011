"""Find pictures that are probably in the wrong folder."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from incv3d.teaching.estimate import LeftOut
from incv3d.teaching.logistic import Indices, softmax

LARGEST_SHARE = 0.1
"""Share of the pictures of a teaching set that are named at most."""
FEWEST = 10
"""That many are named in any case, if there are as many."""


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that, left out, looks more like another class than like its own."""

    name: str
    label: str = msgspec.field(name="class")
    looks_like: str
    probability: float
    """Of the other class."""


def find_suspects(
    left_out: LeftOut, scale: float, y: Indices, names: Sequence[str], classes: tuple[str, ...]
) -> list[Suspect]:
    """Return the pictures that heads which had not seen them give to another class, the clearest first."""
    rows = np.arange(len(y))
    chances = softmax(left_out.logits * np.float32(scale))
    best = left_out.said
    own, other = chances[rows, y], chances[rows, best]
    suspects = np.flatnonzero(left_out.asked & (best != y))
    order = suspects[np.argsort(own[suspects] / np.maximum(other[suspects], 1e-30), kind="stable")]
    most = max(FEWEST, round(LARGEST_SHARE * len(y)))
    return [
        Suspect(
            name=names[at], label=classes[y[at]], looks_like=classes[best[at]], probability=float(other[at])
        )
        for at in order[:most].tolist()
    ]
