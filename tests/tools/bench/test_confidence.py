"""Confidence intervals of percentiles, against tables and against many samples."""

from __future__ import annotations

import random

import pytest

from incv3d.tools.bench.confidence import order_ranks, percentile_interval


@pytest.mark.parametrize(
    ("n", "ranks"),
    # Conover's and Hahn and Meeker's tables for the median at 95 %: 97.9, 95.7, 96.5 and 95.2 % in truth.
    [(10, (2, 9)), (25, (8, 18)), (100, (40, 61)), (1000, (469, 532))],
)
def test_the_ranks_around_the_median_are_those_of_the_tables(n: int, ranks: tuple[int, int]) -> None:
    assert order_ranks(n, 0.5, 0.95) == ranks


def test_few_runs_do_not_bound_a_high_percentile_from_above() -> None:
    few = percentile_interval(sorted(range(100)), 99)
    assert few.high is None and few.low is not None and few.low < few.value
    # 1 - 0.99^n reaches 97.5 % at 368 runs and no sooner (Hahn and Meeker).
    assert percentile_interval(range(367), 99).high is None
    assert percentile_interval(range(368), 99).high == 367


def test_one_run_bounds_nothing() -> None:
    one = percentile_interval([7.0], 50)
    assert (one.value, one.low, one.high) == (7.0, None, None)


def test_the_interval_holds_the_true_percentile_as_often_as_it_says() -> None:
    chance = random.Random(1)
    held = 0
    for _ in range(400):
        sample = sorted(chance.expovariate(1.0) for _ in range(120))
        found = percentile_interval(sample, 90)
        assert found.low is not None and found.high is not None
        held += found.low <= 2.302585 <= found.high  # -ln(0.1)
    assert 0.94 <= held / 400 <= 1.0


def test_many_runs_do_not_overflow() -> None:
    low, high = order_ranks(100_000, 0.99, 0.95)
    assert 98_900 < low < 99_000 < high < 99_100
