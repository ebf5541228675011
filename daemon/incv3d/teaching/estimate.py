"""Estimate how good a head is on pictures that it has not seen, by leaving out whole groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from incv3d.teaching.logistic import STRENGTHS, Bools, Floats, Indices, class_weights, fit, softmax

FOLDS = 5
SCALES = (0.12, 0.17, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Factors of the logits that are tried."""
NOT_LEFT_OUT = -1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What heads said of pictures that had not taught them, nor any picture of their groups."""

    logits: Floats
    """``(pictures, classes)``; zeros for a picture that cannot be left out."""
    asked: Bools
    """Which pictures were left out: those of classes with two groups or more."""

    @property
    def said(self) -> Indices:
        """The most probable class of each picture."""
        said: Indices = self.logits.argmax(axis=1)
        return said


@dataclass(frozen=True, slots=True)
class Choice:
    """How to fit: what the left-out pictures speak for."""

    strength: float
    """How far the regression may depart from the class means."""
    scale: float
    """What to multiply logits by, so that the probabilities are right."""
    left_out: LeftOut
    """What heads of this strength said."""


def split(y: Indices, groups: Indices, seed: int, folds: int = FOLDS) -> Indices:
    """Return the fold of each picture: groups stay whole, and each class is spread evenly.

    A class with one group cannot be left out: nothing would be left to teach it.
    """
    random = np.random.default_rng(seed)
    fold = np.full(len(y), NOT_LEFT_OUT)
    for label in np.unique(y):
        of_class = np.flatnonzero(y == label)
        found, where, sizes = np.unique(groups[of_class], return_inverse=True, return_counts=True)
        if len(found) > 1:
            # The largest first, each into the emptiest fold.
            load, place = np.zeros(min(folds, len(found))), np.empty(len(found), np.intp)
            start = int(random.integers(folds))
            for each in sorted(random.permutation(len(found)), key=lambda one: -sizes[one]):
                place[each] = load.argmin()
                load[place[each]] += sizes[each]
            fold[of_class] = (place[where.reshape(-1)] + start) % folds
    return fold


def leave_out(
    x: Floats, y: Indices, classes: int, fold: Indices, strength: float, taught: Bools | None = None
) -> LeftOut:
    """Teach once for each fold without it, and ask for its pictures.

    :param x: coordinates of the pictures, one row each.
    :param taught: which pictures may teach; None: all.
    """
    logits = np.zeros((len(y), classes), np.float32)
    asked = fold != NOT_LEFT_OUT
    for each in np.unique(fold[asked]):
        teaches = fold != each if taught is None else (fold != each) & taught
        logits[fold == each] = fit(x[teaches], y[teaches], classes, strength).logits(x[fold == each])
    return LeftOut(logits, asked)


def choose(x: Floats, y: Indices, groups: Indices, classes: int, fold: Indices) -> Choice:
    """Return the least strength whose loss is within one standard error of the smallest.

    What a few pictures seem to prove is often chance (Breiman, Friedman, Olshen, Stone: Classification and
    Regression Trees, 1984, section 3.4.3).
    """
    left_out = leave_out(x, y, classes, fold, 0.0)
    asked = left_out.asked
    if not asked.any():
        return Choice(0.0, 1.0, left_out)
    share = class_weights(y[asked], classes)[y[asked]].astype(np.float64) / asked.sum()
    choices, losses = [], []
    for strength in STRENGTHS:
        left_out = leave_out(x, y, classes, fold, strength) if strength else left_out
        by_scale = [brier(left_out.logits[asked] * np.float32(each), y[asked]) for each in SCALES]
        best = int(np.argmin([share @ each for each in by_scale]))
        choices.append(Choice(strength, SCALES[best], left_out))
        losses.append(by_scale[best])
    means = np.array([float(share @ each) for each in losses])
    best = int(means.argmin())
    deviations = np.bincount(groups[asked], weights=share * (losses[best] - means[best]))
    error = float(np.sqrt(np.square(deviations).sum()))
    return choices[int(np.argmax(means <= means[best] + error))]


def brier(logits: Floats, y: Indices) -> npt.NDArray[np.float64]:
    """Return the squared distance of each picture's probabilities from its class (Brier, 1950).

    Unlike the logarithm of the probability, it is bounded: pictures in the wrong folder do not outweigh
    others.
    """
    wrong = softmax(logits).astype(np.float64)
    wrong[np.arange(len(y)), y] -= 1
    losses: npt.NDArray[np.float64] = np.square(wrong).sum(axis=1)
    return losses


def part_of(y: Indices, groups: Indices, fold: Indices, share: float, seed: int) -> Bools:
    """Return which pictures are in a random `share` of their class's groups, evenly over the folds."""
    random = np.random.default_rng(seed)
    taught = np.zeros(len(y), np.bool_)
    for label in np.unique(y):
        of_class = y == label
        found, first = np.unique(groups[of_class], return_index=True)
        order = random.permutation(len(found))
        # Sorted by fold and then dealt by a fixed step, so that each fold gives its part.
        order = order[np.argsort(fold[of_class][first[order]], kind="stable")]
        count = max(1, round(share * len(found)))
        taken = found[order[np.linspace(0, len(found) - 1, count).round().astype(np.intp)]]
        taught |= of_class & np.isin(groups, taken)
    return taught
