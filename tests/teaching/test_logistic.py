"""The fit, beside what is known of it."""

from __future__ import annotations

import numpy as np
import pytest

from incv3d.teaching.intervals import share_of, wilson
from incv3d.teaching.logistic import class_weights, minimize, regress, softmax, span_of


def test_the_fit_is_where_the_loss_has_no_slope() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 5)).astype(np.float32), random.integers(0, 3, 60)
    offset, strength = random.normal(size=(60, 3)).astype(np.float32), 0.7
    weights = regress(x, y, offset, strength).astype(np.float64)

    def loss(at: np.ndarray) -> float:
        chances = softmax(offset + x @ at)[np.arange(60), y]
        return float(-(class_weights(y, 3)[y] * np.log(chances)).sum() + (at**2).sum() / (2 * strength))

    for _ in range(20):
        assert loss(weights) <= loss(weights + random.normal(size=weights.shape) * 0.02)


def test_a_valley_is_followed_to_its_end() -> None:
    """A quadratic with curvatures from 1 to 100, whose minimum is known."""
    curvature = np.geomspace(1, 100, 30).astype(np.float32)
    goal = np.linspace(-2, 2, 30).astype(np.float32)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        return float(0.5 * (curvature * (at - goal) ** 2).sum()), curvature * (at - goal)

    assert np.abs(minimize(loss, np.zeros(30, np.float32), 1e-4) - goal).max() < 0.05


@pytest.mark.parametrize("shape", [(20, 50), (80, 30)])
def test_coordinates_in_the_span_keep_all_products(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    span = span_of(x)
    assert np.allclose(span.coordinates @ span.coordinates.T, x @ x.T, atol=1e-3)
    assert np.allclose(span.basis.T @ span.basis, np.eye(span.basis.shape[1]), atol=1e-4)


def test_the_interval_of_wilson() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2014, 0.7986), abs=1e-4)  # Newcombe's formula, by hand
    # Newcombe's own examples, 81 of 263 and 15 of 148 (table I, method 4).
    assert wilson(81 / 263, 263) == pytest.approx((0.2535, 0.3682), abs=1e-4)
    assert wilson(15 / 148, 148) == pytest.approx((0.0598, 0.1644), abs=1e-4)
    assert wilson(1.0, 20)[1] == 1.0 and wilson(0.0, 20)[0] == 0.0 and wilson(0.0, 0) == (0.0, 1.0)
    for count in (0.1, 0.5, 1.0, 3.0):
        low, high = wilson(0.7, count)
        assert 0.0 <= low <= 0.7 <= high <= 1.0


def test_pictures_of_few_groups_prove_little() -> None:
    hits = np.array([1, 1, 1, 0] * 25, np.float32)
    many, few = share_of(hits, np.arange(100)), share_of(hits, np.arange(100) % 5)
    assert many and few and many.value == few.value == 0.75
    assert (few.low, few.high) == pytest.approx(wilson(0.75, 5))
    assert share_of(hits[:0], np.arange(0)) is None
