"""The soak's own judgement: growth is found, noise is not taken for it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from process_growth import sample, slope

AT_S = np.arange(0, 600, 2.0)


def test_growth_is_found_in_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 2, AT_S.size)
    found = slope(AT_S, 100 + AT_S / 3600 * 60 + noise)
    assert found.grows and found.low < 60 < found.high


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_does_not_grow(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 2, AT_S.size)
    assert not slope(AT_S, 100 + noise).grows


def test_what_stays_the_same_has_no_slope() -> None:
    assert slope(AT_S, np.full(AT_S.size, 12)).per_hour == pytest.approx(0, abs=1e-9)


def test_two_samples_are_no_slope() -> None:
    with pytest.raises(ValueError, match="too few"):
        slope([0, 1], [5, 6])


def test_a_process_is_looked_at() -> None:
    before = sample(os.getpid(), 0.0)
    reader, writer = os.pipe()
    after = sample(os.getpid(), 1.0)
    os.close(reader)
    os.close(writer)
    assert after.descriptors == before.descriptors + 2
    assert after.threads >= 1 and after.memory_mb > 1
