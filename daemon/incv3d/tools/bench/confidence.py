"""Compute confidence intervals of percentiles, without assumptions about the distribution.

Of ``n`` independent runs, the number shorter than the true ``q``-quantile is binomial with ``n`` and ``q``;
the probability that two of the ordered runs enclose that quantile can therefore be computed (Conover,
Practical Nonparametric Statistics, 3rd edition, section 3.2; Hahn and Meeker, Statistical Intervals, section
5.2). Successive runs on a machine are not fully independent: the true interval may be wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from incv3d.latency.rolling import percentile

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile of the runs, and bounds for the true one."""

    percent: float
    value: float
    low: float | None
    """None: there are too few runs for a bound on this side."""
    high: float | None
    confidence: float = CONFIDENCE


def percentile_interval(ordered: Sequence[float], percent: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the `percent`-th percentile of one or more ascending values, with its interval."""
    low, high = order_ranks(len(ordered), percent / 100, confidence)
    return Interval(
        percent=percent,
        value=percentile(ordered, percent),
        low=ordered[low - 1] if low >= 1 else None,
        high=ordered[high - 1] if high <= len(ordered) else None,
        confidence=confidence,
    )


def order_ranks(n: int, q: float, confidence: float) -> tuple[int, int]:
    """Return the ranks, from 1, of the ordered values that enclose the `q`-quantile of `n` values.

    Each side is wrong with a probability of at most ``(1 - confidence) / 2``; rank 0 or ``n + 1`` means that
    no value bounds that side.
    """
    tail = (1 - confidence) / 2
    below = 0.0
    low, high = 0, n + 1
    for k in range(n + 1):
        # P(fewer than k of the values lie below the quantile) is `below` here.
        if below <= tail:
            low = k
        below += _binomial(n, k, q)
        if below >= 1 - tail:
            high = k + 1
            break
    return low, high


def _binomial(n: int, k: int, q: float) -> float:
    """Return P(exactly `k` of `n`), computed with logarithms so that large `n` do not overflow."""
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(choose + k * math.log(q) + (n - k) * math.log1p(-q))
