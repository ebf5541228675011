"""Warm up a Session, so that no real frame has to wait for its slow first runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from incv3d.engines.base import Session

SETTLED_RUNS = 3
SETTLED_WITHIN = 0.10


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The result of a warm-up."""

    runs_ms: tuple[float, ...]
    settled: bool
    """Whether it ended because run times had settled."""


def has_settled(runs_ms: list[float]) -> bool:
    """Return whether the last three runs are within a tenth of each other.

    The first runs allocate memory and start threads: the published times are 6.3 s for the first run and 2.0
    s afterwards. Three similar runs in a row show that this is over.
    """
    last = runs_ms[-SETTLED_RUNS:]
    return len(last) == SETTLED_RUNS and max(last) <= min(last) * (1 + SETTLED_WITHIN)


def warm_up(
    session: Session, shape: tuple[int, ...], runs: int, clock: Callable[[], float] = time.perf_counter
) -> WarmUp:
    """Run `session` on a gray image up to `runs` times, or until the run times have settled.

    :param shape: shape of the pixels, ``(1, height, width, 3)``.
    :raises SessionError: a run fails.
    """
    pixels = np.zeros(shape, np.float32)
    runs_ms: list[float] = []
    while len(runs_ms) < runs:
        started = clock()
        session.run(pixels)
        runs_ms.append((clock() - started) * 1000)
        if has_settled(runs_ms):
            return WarmUp(tuple(runs_ms), settled=True)
    return WarmUp(tuple(runs_ms), settled=False)
