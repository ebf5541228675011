"""Fit the linear part of a head: logistic regression that starts from the class means.

A class is first represented by its mean picture: the unit vector along the mean of its normalized features,
weighted by one number. Multinomial logistic regression then adds to these weights what
the pictures show beyond their means, with an L2 penalty on what it adds. With few pictures the penalty wins
and the class means remain; with many the regression takes over. There is no bias. A class weighs as
much as the square root of its number of pictures: rare classes are not drowned, and frequent ones not
ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

TRUST = 32.0
"""What the cosine to a class's mean is multiplied by, divided by the variance of the features."""
STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The inverse of the penalty; 0: the class means alone."""
BALANCE = 0.5
"""0: every picture weighs the same; 1: every class does."""
MAX_RANK = 512
"""Directions that the regression may use: those in which the pictures differ most."""
HISTORY = 8
"""Steps that L-BFGS remembers."""
MAX_STEPS = 60
FLAT = 3e-3
"""The largest derivative, for a picture, at which the fit ends."""


@dataclass(frozen=True, slots=True)
class Span:
    """Pictures as coordinates in the space that they span: the fit is the same there, and faster.

    The penalty and all products are invariant under rotation, so coordinates in an orthonormal basis of the
    span are as good as the features (Hastie, Tibshirani, Friedman: The Elements of Statistical Learning,
    18.3.5).
    """

    coordinates: Floats
    """``(pictures, rank)``."""
    basis: Floats
    """``(features, rank)``, orthonormal columns."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights of a linear classifier: ``(x - center) @ weights + bias``, largest wins."""

    center: Floats
    weights: Floats
    bias: Floats

    def logits(self, x: Floats) -> Floats:
        """Return one number for each class, one row a picture."""
        return np.asarray((x - self.center) @ self.weights + self.bias, np.float32)


def span_of(unit: Floats, max_rank: int = MAX_RANK) -> Span:
    """Return normalized features, one row a picture, as coordinates in their span."""
    is_wide = unit.shape[1] > unit.shape[0]
    gram = unit @ unit.T if is_wide else unit.T @ unit
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    kept = np.flatnonzero(values > values[-1] * 1e-6)[-max_rank:]
    scales = np.sqrt(values[kept]) if is_wide else np.float64(1)
    basis: Floats = (vectors[:, kept] / scales).astype(np.float32)
    if is_wide:
        basis = unit.T @ basis
    return Span(unit @ basis, basis)


def softmax(logits: Floats) -> Floats:
    """Return probabilities, one row a picture."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def class_means(x: Floats, y: Indices, classes: int) -> Floats:
    """Return the unit vector along the mean of each class, ``(classes, rank)``; zeros for one without
    pictures."""
    sums = np.zeros((classes, x.shape[1]), np.float32)
    np.add.at(sums, y, x)
    means: Floats = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
    return means


def fit(x: Floats, y: Indices, classes: int, strength: float) -> Linear:
    """Return the linear classifier of the pictures `x`, one row each, whose classes are `y`.

    :param strength: the inverse of the penalty; 0: no regression.
    """
    center = x.mean(axis=0)
    centered = x - center
    variance = float(np.square(centered).sum(axis=1).mean()) or 1.0
    start = class_means(x, y, classes).T * np.float32(TRUST / variance)
    weights = start
    if strength:
        # In units of the spread, so that one strength means the same for all networks.
        scaled = centered / np.float32(np.sqrt(variance))
        added = regress(scaled, y, x @ start, strength)
        weights = start + added / np.float32(np.sqrt(variance))
    return Linear(center, weights, center @ start)


def class_weights(y: Indices, classes: int) -> Floats:
    """Return the weight of a picture of each class, 1 on average over the pictures `y`."""
    counts = np.bincount(y, minlength=classes)
    weights: Floats = (np.maximum(counts, 1) ** -BALANCE).astype(np.float32)
    return weights * np.float32(len(y) / (weights @ counts))


def regress(x: Floats, y: Indices, offset: Floats, strength: float) -> Floats:
    """Return the weights that multinomial logistic regression adds to the logits `offset`.

    Minimizes the sum of the pictures' cross-entropies, by the weights of their classes, plus the sum of the
    squared weights / (2 strength).
    """
    count, classes = offset.shape
    share = class_weights(y, classes)[y, np.newaxis]
    target = np.zeros((count, classes), np.float32)
    target[np.arange(count), y] = 1
    shape = (x.shape[1], classes)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        chances = softmax(offset + x @ weights)
        picked = np.maximum(chances[np.arange(count), y], np.float32(1e-30))
        value = -float(share[:, 0] @ np.log(picked)) + float(flat @ flat) / (2 * strength)
        slope = x.T @ ((chances - target) * share) + weights / np.float32(strength)
        return value, slope.ravel()

    return minimize(loss, np.zeros(shape, np.float32).ravel(), FLAT * np.sqrt(count)).reshape(shape)


def minimize(loss: Callable[[Floats], tuple[float, Floats]], at: Floats, flat: float) -> Floats:
    """Return where a smooth convex function is smallest, by L-BFGS with backtracking.

    Nocedal, Wright: Numerical Optimization, 2nd edition, algorithms 7.4 and 7.5; the steps end by Armijo's
    rule.

    :param loss: returns the value and its derivatives.
    :param flat: ends where the length of the derivative is below this.
    """
    value, slope = loss(at)
    steps: list[Floats] = []
    turns: list[Floats] = []
    for _ in range(MAX_STEPS):
        if float(slope @ slope) < flat * flat:
            break
        direction = _direction(slope, steps, turns)
        descent = float(slope @ direction)
        length = 1.0
        while True:
            new_value, new_slope = loss(at + np.float32(length) * direction)
            if new_value <= value + 1e-4 * length * descent or length < 1e-6:
                break
            length /= 2
        step, turn = np.float32(length) * direction, new_slope - slope
        if float(step @ turn) > 1e-12:
            steps, turns = [*steps, step][-HISTORY:], [*turns, turn][-HISTORY:]
        at, value, slope = at + step, new_value, new_slope
    return at


def _direction(slope: Floats, steps: list[Floats], turns: list[Floats]) -> Floats:
    """Return the direction of descent: minus the slope times the approximate inverse of the curvature."""
    if not steps:
        return -slope / np.float32(max(1.0, float(np.abs(slope).sum())))
    direction = slope.copy()
    weights = []
    for step, turn in zip(reversed(steps), reversed(turns), strict=True):
        weight = (step @ direction) / (step @ turn)
        weights.append(weight)
        direction -= weight * turn
    direction *= (steps[-1] @ turns[-1]) / (turns[-1] @ turns[-1])
    for step, turn, weight in zip(steps, turns, reversed(weights), strict=True):
        direction += (weight - (turn @ direction) / (step @ turn)) * step
    return -direction
