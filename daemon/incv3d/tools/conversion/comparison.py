"""Compare a conversion with its model's Session on the same images, in worker processes that take turns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt

from incv3d.engines import SessionError
from incv3d.models.conversions import Comparison, EngineMeasurements
from incv3d.tools.conversion.worker import SessionJob, SessionReply
from incv3d.tools.workers.process import WorkerFailed, WorkerProcess, take_turns
from incv3d.tools.workers.protocol import RunReply

WORKER = "incv3d.tools.conversion.worker"
WARM_UP_RUNS = 3
FEWEST_RUNS = 20
"""A median of fewer says little."""


class _Contestant:
    """One of the two Sessions in its worker process, with its runs so far."""

    def __init__(self, job: SessionJob) -> None:
        self._job = job
        self._worker = WorkerProcess(WORKER, job)
        self._engine = ""
        self._runs_ms: list[float] = []
        self._scores: dict[int, tuple[float, ...]] = {}  # by image
        self.kill = self._worker.kill

    def warm_up(self, image: int) -> None:
        """Wait until the Session is open, and make runs that do not count."""
        with self._named():
            self._engine = self._worker.receive(SessionReply).engine
        for _ in range(WARM_UP_RUNS):
            self.run(image)
        self._runs_ms.clear()

    def run(self, image: int) -> None:
        """Classify an image, and keep the time and the scores."""
        with self._named():
            reply = self._worker.ask(f"run {image}", RunReply)
        self._runs_ms.append(reply.run_s * 1000)
        self._scores[image] = reply.scores

    def figures(self) -> EngineMeasurements:
        """Return the measurements of its runs."""
        with self._named():
            memory = self._worker.memory()
        return EngineMeasurements(
            engine=self._engine,
            run_ms=round(statistics.median(self._runs_ms), 3),
            peak_memory_mb=round(memory.peak_mb, 1),
            size_bytes=self._job.spec.file.stat().st_size,
            distinct_scores=len(np.unique(self.scores())),
        )

    def scores(self) -> npt.NDArray[np.float32]:
        """Return the scores of all images, ``(images, outputs)``, in the order of their numbers."""
        return np.array([self._scores[image] for image in sorted(self._scores)], np.float32)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except WorkerFailed as error:
            raise SessionError(f"{self._job.spec.file}: {error}") from None


def compare(
    session: SessionJob,
    conversion: SessionJob,
    images: tuple[int, ...],
    counted: Callable[[int, int], None],
    in_turns: bool = True,
) -> Comparison:
    """Run both on every image.

    :param images: numbers of images in the pixel file of both.
    :param counted: called with the number of completed runs of each, and their total.
    :param in_turns: whether their runs alternate, so that a busy machine favors neither. Otherwise one runs
        after the other, and only one at a time takes memory.
    :raises SessionError: if one of them fails.
    """
    rounds = math.ceil(FEWEST_RUNS / len(images)) * len(images)
    jobs = (session, conversion)
    found: list[tuple[EngineMeasurements, npt.NDArray[np.float32]]] = []
    for done, together in enumerate([jobs] if in_turns else [(session,), (conversion,)]):
        with ExitStack() as stack:
            contestants = []
            for job in together:
                contestants.append(_Contestant(job))
                stack.callback(contestants[-1].kill)
            for each in contestants:
                each.warm_up(images[0])
            for turn, (number, each) in enumerate(take_turns(contestants, rounds), 1):
                each.run(images[number % len(images)])
                counted((done * rounds + turn) // len(jobs), rounds)
            found += [(each.figures(), each.scores()) for each in contestants]
    (one, want), (other, got) = found
    return _agreement(want, got, session.spec.threads, session=one, conversion=other)


def _agreement(
    want: npt.NDArray[np.float32],
    got: npt.NDArray[np.float32],
    threads: int,
    session: EngineMeasurements,
    conversion: EngineMeasurements,
) -> Comparison:
    """Compare `got` with `want`, both ``(images, outputs)``."""
    first = want.argmax(axis=1)
    rows = np.arange(len(first))
    best_five = np.argsort(-got, axis=1, kind="stable")[:, :5]
    return Comparison(
        images=len(first),
        top1_agreement=float(np.mean(first == got.argmax(axis=1))),
        top5_agreement=float(np.mean((best_five == first[:, np.newaxis]).any(axis=1))),
        largest_difference=float(np.abs(want - got).max()),
        median_difference=float(np.median(np.abs(want[rows, first] - got[rows, first]))),
        threads=threads,
        session=session,
        conversion=conversion,
    )
