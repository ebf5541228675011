"""Warm-up: the first runs of a Session are slow, and nobody's frame should pay for them."""

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
    """What warming took."""

    runs_ms: tuple[float, ...]
    settled: bool
    """Whether it ended because the runs had settled."""


def has_settled(runs_ms: list[float]) -> bool:
    """Whether the last three runs lie within a tenth of each other.

    The first runs allocate memory and start threads: published, 6.3 s for a first run against 2.0 s after
    it. Three alike in a row mean that this is over; a fourth would tell nothing new.
    """
    last = runs_ms[-SETTLED_RUNS:]
    return len(last) == SETTLED_RUNS and max(last) <= min(last) * (1 + SETTLED_WITHIN)


def warm_up(
    session: Session, shape: tuple[int, ...], runs: int, clock: Callable[[], float] = time.perf_counter
) -> WarmUp:
    """Run `session` on a grey picture, at most `runs` times; fewer when the runs have settled.

    :param shape: of the pixels, ``(1, height, width, 3)``.
    :raises SessionError: when a run fails.
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
