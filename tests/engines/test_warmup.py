"""Warm-up: as many runs as asked for, fewer when they have settled."""

from __future__ import annotations

from collections.abc import Iterator

from doubles import ScriptedSession
from incv3d.engines.warmup import has_settled, warm_up


class Clock:
    """Each run takes the next of `runs_ms`."""

    def __init__(self, *runs_ms: float) -> None:
        self._times = self._tick(runs_ms)

    @staticmethod
    def _tick(runs_ms: tuple[float, ...]) -> Iterator[float]:
        now = 0.0
        for run_ms in runs_ms:
            yield now
            now += run_ms / 1000
            yield now

    def __call__(self) -> float:
        return next(self._times)


def test_it_stops_early_when_three_runs_in_a_row_are_alike() -> None:
    session = ScriptedSession()
    warm = warm_up(session, (1, 8, 8, 3), runs=10, clock=Clock(6300, 2500, 2000, 2010, 1990))
    assert warm.settled and session.runs == 5
    assert [round(ms) for ms in warm.runs_ms] == [6300, 2500, 2000, 2010, 1990]


def test_it_gives_up_waiting_for_that_after_the_runs_it_was_given() -> None:
    session = ScriptedSession()
    warm = warm_up(session, (1, 8, 8, 3), runs=4, clock=Clock(1, 2, 4, 8))
    assert not warm.settled and session.runs == 4


def test_none_are_none() -> None:
    session = ScriptedSession()
    assert warm_up(session, (1, 8, 8, 3), runs=0).runs_ms == () and session.runs == 0


def test_runs_have_settled_when_the_last_three_are_within_a_tenth() -> None:
    assert not has_settled([10, 10])
    assert not has_settled([10, 10, 11.2])
    assert has_settled([50, 10, 10.5, 11])
