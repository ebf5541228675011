"""Time a model's networks on this machine: ``python -m incv3d.pipeline.engine_timing JOB``.

Run as a child process by :mod:`incv3d.pipeline.engine_choice`, so that none of it stays in the daemon's
memory. Only one Session is open at a time, so that a small machine has the memory. They are opened again in
every round, in turn, so that a busy or throttled machine favors none of them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from incv3d.child_process import decode
from incv3d.engines import Session, SessionError, SessionSpec, engine_for, open_session
from incv3d.errors import one_line

ROUNDS = 3
"""Times that a promising combination of network and threads is visited."""
VISIT_S, LEAST_RUNS, MOST_RUNS = 0.2, 3, 20
"""How long a network is timed at each visit, and how many runs that may be."""
BUDGET_S = 45.0
"""No further visits begin after this time, except the first of each network."""
WORTH_OTHER_THREADS = 2.0
"""How many times the fastest network's time one may take, to be timed with fewer threads, too."""
PROMISING = 1.6
"""The same, to be visited again."""
PAUSE_S = 0.02
"""Before a visit. A library's idle threads spin for a while, which must not slow down the next one."""


class TimedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network to time."""

    name: str
    spec: SessionSpec
    prepared: Path | None = None
    """See :func:`incv3d.engines.open_session`."""


class TimingJob(msgspec.Struct, frozen=True, kw_only=True):
    """The networks to time, and the numbers of threads to time them with, the largest first."""

    networks: tuple[TimedNetwork, ...]
    threads: tuple[int, ...]


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """The timed runs of a network at one visit, as one line of the child's output."""

    name: str
    threads: int
    runs_ms: tuple[float, ...] = ()
    """Empty: the visit begins, or failed."""
    failure: str = ""


Combination = tuple[TimedNetwork, int]
Open = Callable[[SessionSpec, Path | None], Session]


def time_networks(
    job: TimingJob, open_network: Open = open_session, clock: Callable[[], float] = time.monotonic
) -> Iterator[Visit]:
    """Yield a visit without runs when one begins, and one with its runs, or its failure, when it ends.

    First every network is visited with all threads; then those that are not much slower than the fastest,
    with fewer threads, if their engine can change that; then the fastest combinations in further rounds.
    """
    began = clock()
    times: dict[tuple[str, int], list[float]] = {}

    def median_ms(combination: Combination) -> float:
        runs_ms = times.get((combination[0].name, combination[1]), [])
        return statistics.median(runs_ms) if runs_ms else float("inf")

    def visit(network: TimedNetwork, threads: int) -> Iterator[Visit]:
        yield Visit(name=network.name, threads=threads)
        found = _visit(network, threads, open_network, clock)
        times.setdefault((network.name, threads), []).extend(found.runs_ms)
        yield found

    def best_ms() -> float:
        return min((statistics.median(each) for each in times.values() if each), default=float("inf"))

    most, *fewer = job.threads
    for network in job.networks:
        yield from visit(network, most)
    near = [
        each
        for each in job.networks
        if median_ms((each, most)) <= WORTH_OTHER_THREADS * best_ms()
        and not engine_for(each.spec.format).fixes_threads
    ]
    for threads in fewer:
        for network in near:
            if clock() - began < BUDGET_S:
                yield from visit(network, threads)
    combinations = [(network, threads) for network in job.networks for threads in job.threads]
    promising = [each for each in combinations if median_ms(each) <= PROMISING * best_ms()]
    if len(promising) < 2:
        return
    for number in range(1, ROUNDS):
        first = number % len(promising)
        for network, threads in [*promising[first:], *promising[:first]]:
            if clock() - began < BUDGET_S:
                yield from visit(network, threads)


def _visit(network: TimedNetwork, threads: int, open_network: Open, clock: Callable[[], float]) -> Visit:
    spec = replace(network.spec, threads=threads)
    pixels = np.random.default_rng(0).uniform(-1, 1, spec.input_shape).astype(np.float32)
    time.sleep(PAUSE_S)
    runs_ms: list[float] = []
    try:
        with closing(open_network(spec, network.prepared)) as session:
            session.run(pixels)  # the first run takes longer
            began = clock()
            while len(runs_ms) < LEAST_RUNS or (len(runs_ms) < MOST_RUNS and clock() - began < VISIT_S):
                started = clock()
                session.run(pixels)
                runs_ms.append((clock() - started) * 1000)
    except (SessionError, MemoryError) as error:
        failure = one_line(error) or "out of memory"
        return Visit(name=network.name, threads=threads, failure=failure)
    return Visit(name=network.name, threads=threads, runs_ms=tuple(runs_ms))


def main(job: TimingJob) -> None:
    """Write a line of JSON for each visit to standard output, which nothing else may write to."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as lines:
        os.dup2(2, 1)
        for each in time_networks(job):
            lines.write(msgspec.json.encode(each) + b"\n")


if __name__ == "__main__":
    main(decode(sys.argv[1], TimingJob))
