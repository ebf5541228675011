"""Memory that grows is found, and what only comes and goes is not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from incv3d.app.memory_guard import LEAK_AFTER_S, MemoryCheck, MemoryGuard
from incv3d.machine import limit_of

HOUR_S = 3600.0
MINUTE_S = 60.0


class Life:
    """A process whose memory is what `size_mb` says at each second, looked at every so often."""

    def __init__(self, size_mb: Callable[[float], float | None], limit_mb: float | None = 600.0) -> None:
        self.now = 0.0
        self._size_mb = size_mb
        self.guard = MemoryGuard(limit_mb, lambda: self._size_mb(self.now), clock=lambda: self.now)

    def live(self, seconds: float, step_s: float = MINUTE_S) -> list[MemoryCheck]:
        """What the guard says meanwhile."""
        said = []
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            verdict = self.guard.check()
            if verdict != MemoryCheck():
                said.append(verdict)
            if verdict.over_limit:
                break
        return said


def restless(size_mb: float) -> Callable[[float], float]:
    """Steady, with pictures of every size in flight."""
    chance = random.Random(4)
    return lambda now: size_mb + chance.choice((0, 0, 5, 80, 300))


def test_months_of_large_pictures_are_no_leak() -> None:
    life = Life(restless(200))
    assert life.live(60 * 24 * HOUR_S, step_s=5 * MINUTE_S) == []
    assert life.guard.mb_per_hour == pytest.approx(0, abs=0.01)


def test_a_small_leak_is_warned_of_before_the_limit_ends_the_process() -> None:
    life = Life(lambda now: 200 + 2.0 * now / HOUR_S)
    *warnings, last = life.live(1000 * HOUR_S)
    assert last.over_limit and life.now / HOUR_S == pytest.approx(200, abs=1)
    assert 1 <= len(warnings) <= 5 and "grows by 2.0 MB per hour" in warnings[0].warning
    assert "the 600 MB at which it restarts (daemon.memory_limit_mb)" in warnings[0].warning


def test_a_leak_is_seen_below_the_pictures() -> None:
    noise = restless(0)
    life = Life(lambda now: 200 + 2.0 * now / HOUR_S + noise(now), limit_mb=10_000)
    life.live(72 * HOUR_S)
    assert life.guard.mb_per_hour == pytest.approx(2.0, rel=0.1)


def test_another_model_is_a_step_and_no_slope() -> None:
    life = Life(lambda now: 200 if now < 24 * HOUR_S else 300)
    assert life.live(72 * HOUR_S) == []
    assert life.guard.mb_per_hour is not None and life.guard.mb_per_hour < 3


def test_a_moment_over_the_limit_is_no_leak_and_half_a_minute_is() -> None:
    life = Life(lambda now: 700 if now % 60 < LEAK_AFTER_S - 2 else 100)
    assert life.live(HOUR_S, step_s=1) == []
    life = Life(lambda now: 700)
    assert life.live(HOUR_S, step_s=1) == [MemoryCheck(over_limit=True)] and life.now == LEAK_AFTER_S + 1


@pytest.mark.parametrize(("size_mb", "limit_mb"), [(None, 600.0), (700.0, None)])
def test_what_cannot_be_told_is_no_leak(size_mb: float | None, limit_mb: float | None) -> None:
    assert Life(lambda now: size_mb, limit_mb).live(HOUR_S) == []


def test_the_limit_is_the_configured_one_or_nine_tenths_of_what_there_is() -> None:
    assert limit_of(300, 1000.0) == 300
    assert limit_of(0, 1000.0) == 900
    assert limit_of(0, None) is None
