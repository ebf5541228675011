"""Run one Session on the images of a pixel file: ``python -m incv3d.tools.conversion.worker JOB``.

Its command is ``run NUMBER``: classify the image with this number.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from incv3d.child_process import decode
from incv3d.engines import SessionSpec, open_session
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.pipeline.classifier import probabilities
from incv3d.tools.workers.protocol import RunReply
from incv3d.tools.workers.serve import serve


class SessionJob(msgspec.Struct, frozen=True, kw_only=True):
    """The Session to open."""

    spec: SessionSpec
    prepared: Path | None = None
    """The folder of a frozen graph's prepared form, if it has one."""
    pixels: Path
    """A :class:`PixelFile`."""
    logits: bool
    """Whether the network returns logits, which become probabilities."""
    binary: bool = False
    """Whether it returns one score only, that of the second of two labels."""


class SessionReply(msgspec.Struct, frozen=True, kw_only=True):
    """The Session is open."""

    engine: str


class SessionWorker:
    """An open Session and its pixel file.

    :raises SessionError: if the Session cannot be opened.
    """

    def __init__(self, job: SessionJob) -> None:
        self._job = job
        self._pixels = PixelFile(job.pixels, job.spec.input_shape)
        self._session = open_session(job.spec, job.prepared)

    @property
    def commands(self) -> Mapping[str, Callable[..., msgspec.Struct]]:
        """The commands that :func:`serve` answers."""
        return {"run": self.run}

    def opened(self) -> SessionReply:
        """Name the engine."""
        facts = self._session.facts
        return SessionReply(engine=f"{facts.engine} {facts.version}, {facts.binding}")

    def run(self, image: str) -> RunReply:
        """Classify the image with this number; reply with all scores, as probabilities."""
        pixels = self._pixels.read(int(image))
        started = time.perf_counter()
        scores = self._session.run(pixels)
        run_s = time.perf_counter() - started
        given = probabilities(scores, self._job.logits, self._job.binary)
        return RunReply(run_s=run_s, scores=tuple(map(float, given)))


if __name__ == "__main__":
    serve(lambda: SessionWorker(decode(sys.argv[1], SessionJob)))
