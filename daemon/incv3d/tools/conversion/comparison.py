"""Two Sessions side by side on the same pictures, each in a process of its own, taking turns.

Run as a program, this is one of the two: it opens a Session and runs the picture whose number it is told.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import numpy.typing as npt

from incv3d.child_process import start_python
from incv3d.engines import SessionError, SessionSpec, open_session
from incv3d.models.conversions import Comparison, EngineFigures
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.pipeline.classifier import probabilities

WARM_UP_RUNS = 3
FEWEST_RUNS = 20
"""A median of fewer says little."""
PROGRAM = "incv3d.tools.conversion.comparison"


class SessionJob(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two, handed to its process as JSON."""

    spec: SessionSpec
    prepared: Path | None = None
    """The folder of a frozen graph's prepared form; None: there is none."""
    pixels: Path
    """A :class:`PixelFile`."""
    logits: bool
    """Whether the network gives logits, which become probabilities."""
    binary: bool = False
    """Whether it gives one score only, that of the second of two labels."""


class WorkerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says in the end."""

    engine: str
    peak_memory_mb: float


def compare(
    session: SessionJob,
    conversion: SessionJob,
    pictures: tuple[int, ...],
    counted: Callable[[int, int], None],
) -> Comparison:
    """Run both on every picture, in turns, so that a noisy machine favours neither.

    :param pictures: numbers of pictures in the file of both.
    :param counted: told how many runs of each there were, and how many there will be.
    :raises SessionError: when one of them fails.
    """
    rounds = math.ceil(FEWEST_RUNS / len(pictures))
    with (
        tempfile.TemporaryDirectory() as scratch,
        _Process(session, Path(scratch) / "session") as one,
        _Process(conversion, Path(scratch) / "conversion") as other,
    ):
        both = (one, other)
        for process in both:
            for _ in range(WARM_UP_RUNS):
                process.run(pictures[0])
            process.runs_ms.clear()
        for number, picture in enumerate(pictures * rounds):
            # Who runs second finds the caches as the first left them; each is second as often.
            for process in both if number % 2 else reversed(both):
                process.run(picture)
            counted(number + 1, len(pictures) * rounds)
        said = [process.finish() for process in both]
        scores = [process.scores(pictures) for process in both]
    figures = [
        EngineFigures(
            engine=last.engine,
            run_ms=round(statistics.median(process.runs_ms), 3),
            peak_memory_mb=round(last.peak_memory_mb, 1),
            size_bytes=process.contestant.spec.file.stat().st_size,
            distinct_scores=len(np.unique(given)),
        )
        for process, last, given in zip(both, said, scores, strict=True)
    ]
    return _agreement(
        scores[0], scores[1], threads=session.spec.threads, session=figures[0], conversion=figures[1]
    )


def _agreement(
    want: npt.NDArray[np.float32],
    got: npt.NDArray[np.float32],
    threads: int,
    session: EngineFigures,
    conversion: EngineFigures,
) -> Comparison:
    """How `got` agrees with `want`; both ``(pictures, outputs)``."""
    first = want.argmax(axis=1)
    rows = np.arange(len(first))
    best_five = np.argsort(-got, axis=1, kind="stable")[:, :5]
    return Comparison(
        pictures=len(first),
        top1_agreement=float(np.mean(first == got.argmax(axis=1))),
        top5_agreement=float(np.mean((best_five == first[:, np.newaxis]).any(axis=1))),
        largest_difference=float(np.abs(want - got).max()),
        median_difference=float(np.median(np.abs(want[rows, first] - got[rows, first]))),
        threads=threads,
        session=session,
        conversion=conversion,
    )


class _Process:
    """The process of one contestant, until the block ends; what it writes begins with the path `out`."""

    def __init__(self, contestant: SessionJob, out: Path) -> None:
        self.contestant = contestant
        self.runs_ms: list[float] = []
        self._errors = out.with_suffix(".errors")
        self._scores = out.with_suffix(".npz")
        with self._errors.open("wb") as errors:
            self._child = start_python(
                ["-m", PROGRAM, _encode(contestant), str(self._scores)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        # What was not taken any more is of no interest.
        with contextlib.suppress(BrokenPipeError):
            self._child.communicate()

    def run(self, picture: int) -> None:
        """One run; its time is noted."""
        self.runs_ms.append(float(self._ask(f"{picture}\n".encode())))

    def finish(self) -> WorkerSummary:
        """Let it end."""
        return msgspec.json.decode(self._ask(b"end\n"), type=WorkerSummary)

    def scores(self, pictures: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """What it gave, ``(pictures, outputs)``, once it has finished."""
        by_picture = np.load(self._scores)
        order = {int(picture): row for row, picture in enumerate(by_picture["pictures"])}
        given: npt.NDArray[np.float32] = by_picture["scores"][[order[picture] for picture in pictures]]
        return given

    def _ask(self, line: bytes) -> bytes:
        assert self._child.stdin and self._child.stdout
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if answer:
            return answer
        status = self._child.wait()
        said = self._errors.read_text("utf-8", "replace").strip().splitlines()
        reason = (
            said[-1]
            if said and status > 0
            else f"it ended with status {status}; was there too little memory?"
        )
        raise SessionError(f"{self.contestant.spec.file}: {reason}")


def _take_turns(
    contestant: SessionJob, scores_file: Path, told: IO[bytes], say: Callable[[str], None]
) -> None:
    """The work of one process: open, run what it is told, write the scores."""
    pixels = PixelFile(contestant.pixels, contestant.spec.input_shape)
    session = open_session(contestant.spec, contestant.prepared)
    scores: dict[int, npt.NDArray[np.float32]] = {}
    for picture in _numbers(told):
        fed = pixels.read(picture)
        started = time.perf_counter()
        given = session.run(fed)
        run_ms = (time.perf_counter() - started) * 1000
        scores[picture] = probabilities(given, contestant.logits, contestant.binary)
        say(f"{run_ms:.4f}")
    peak_mb = _peak_memory_mb()
    with scores_file.open("wb") as file:
        np.savez(file, pictures=np.array(list(scores)), scores=np.stack(list(scores.values())))
    facts = session.facts
    last = WorkerSummary(engine=f"{facts.engine} {facts.version}, {facts.binding}", peak_memory_mb=peak_mb)
    say(msgspec.json.encode(last).decode())


def _encode(contestant: SessionJob) -> str:
    return msgspec.json.encode(contestant, enc_hook=str).decode()


def _decode(text: str) -> SessionJob:
    return msgspec.json.decode(text, type=SessionJob, dec_hook=lambda kind, value: kind(value))


def _numbers(told: IO[bytes]) -> Iterator[int]:
    for line in told:
        if line == b"end\n":
            return
        yield int(line)


def _peak_memory_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    # Libraries may write to standard output; the parent must read nothing but answers there.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        _take_turns(
            _decode(sys.argv[1]),
            Path(sys.argv[2]),
            sys.stdin.buffer,
            lambda line: print(line, file=answers, flush=True),
        )
    except SessionError as failure:
        sys.exit(str(failure))
