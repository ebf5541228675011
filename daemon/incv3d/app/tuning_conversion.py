"""Look at a source's frames, and convert the model with them: the work of the thread ``tuning``."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from incv3d.config.schema import Config
from incv3d.engines.base import Pixels
from incv3d.frames import Frame
from incv3d.images.preprocess import ImageError, Preprocessor
from incv3d.machine import spare_memory_mb
from incv3d.models.conversions import Conversion, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.quantise import needed_mb
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.store import ModelStore, StoredModel
from incv3d.models.tuning import TuningJob, TuningVerdict
from incv3d.models.tuning_tries import begin_try, end_try
from incv3d.pipeline.distinct_frames import DistinctFrames, frame_of
from incv3d.pipeline.session_spec import input_spec

LOG = logging.getLogger(__name__)
MIN_AGREEMENT = 0.97
"""The least top-1 agreement with the float network on the frames that did not calibrate."""
MEMORY_FACTOR = 1.5
"""What the child may allocate, as a multiple of what it needs: the stacks of its threads count, too."""


class RunTuning(Protocol):
    """Runs a conversion in a child process. Implemented by :func:`incv3d.models.tuning.run_tuning`."""

    def __call__(
        self,
        job: TuningJob,
        heard: Callable[[str], None] = ...,
        started: Callable[[Callable[[], None]], None] = ...,
    ) -> TuningVerdict:
        """Return the verdict."""


@dataclass(frozen=True, slots=True)
class ConversionOutcome:
    """The end of a conversion."""

    tuning: Tuning
    facts: Conversion | None
    """The conversion that was kept."""
    problem: str = ""
    """Why it was not kept; empty if it was."""
    is_try: bool = True
    """Whether it began; False: there was no room for it."""


class Tuning:
    """What is needed to tune one model with one source's frames.

    :param distinct: takes the frames.
    :param run: runs the conversion.
    """

    def __init__(
        self, config: Config, store: ModelStore, model: StoredModel, distinct: DistinctFrames, run: RunTuning
    ) -> None:
        self.model = model
        self.distinct = distinct
        self.step = ""
        """What the conversion is doing, for people."""
        self.first_at: float | None = None
        """When the first frame was looked at (monotonic)."""
        self._config = config
        self._store = store
        self._run = run
        self._spec = input_spec(model.entry)
        # Never the mode `graph`: the network itself is fed.
        self._preprocessor = Preprocessor(self._spec, config.intake.max_pixels, config.session.preprocess)
        self._is_busy = False
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._is_stopped = False

    def wants(self, source: str, now: float) -> bool:
        """Return whether to :meth:`look` at a frame of `source`; then it must be looked at."""
        if self._is_busy or not self.distinct.is_due(source, now):
            return False
        self._is_busy = True
        return True

    def look(self, frame: Frame, now: float) -> None:
        """Keep `frame`, wanted at `now` (monotonic), if it is unlike those that are kept."""
        if self.first_at is None:
            self.first_at = now
        try:
            image = self._preprocessor.decode(frame)
            self.distinct.look(frame.source, now, image, self._spec.least_side)
        except (ImageError, MemoryError) as error:
            LOG.debug("tuning: a frame of %s is left out: %s", frame.source, error)
        finally:
            self._is_busy = False

    def convert(self) -> ConversionOutcome:
        """Convert the model with the frames that are kept, in a child process."""
        jpegs = self.distinct.jpegs
        try:
            self._check_memory(len(jpegs))
            begin_try(self._store, self.model, len(jpegs))
        except ModelError as error:
            return ConversionOutcome(self, None, str(error), is_try=False)
        try:
            with memory_file("tuning") as path:
                verdict = self._run(self._job(path, jpegs), self._heard, self._started)
            problem = verdict.complaint
            facts = None if problem else open_conversion(self.model, "int8").facts
        except (ModelError, OSError, MemoryError) as error:
            facts, problem = None, str(error) or "out of memory"
        try:
            end_try(self._store, self.model, problem)
        except ModelError as error:
            LOG.warning("tuning: the try cannot be recorded: %s", error)
        return ConversionOutcome(self, facts, problem)

    def stop(self) -> None:
        """Stop the conversion, if there is one, and begin none; any thread may call this."""
        with self._lock:
            self._is_stopped = True
            stop = self._stop
        if stop:
            stop()

    def _job(self, path: Path, jpegs: list[bytes]) -> TuningJob:
        pixels = PixelFile(path, self.model.session_spec(1).input_shape)
        for jpeg in jpegs:
            pixels.append(cast("Pixels", self._preprocessor(frame_of(jpeg))))
        numbers = tuple(range(len(jpegs)))
        return TuningJob(
            store=str(self._store.root),
            model=self.model.name,
            pixels=str(path),
            # In turns, so that both sides see all of the day: the frames are distinct by construction.
            calibrating=numbers[1::2],
            held_back=numbers[::2],
            min_agreement=MIN_AGREEMENT,
            threads=1,  # the other cores are for those who wait for an answer
            memory_mb=math.ceil(self._child_mb * MEMORY_FACTOR),
        )

    @property
    def _child_mb(self) -> float:
        return needed_mb(self.model.size_bytes / 2**20)

    def _check_memory(self, frames: int) -> None:
        pixels_mb = frames * math.prod(self.model.session_spec(1).input_shape) * 4 / 2**20
        needed = self._child_mb + pixels_mb
        spare_mb = spare_memory_mb(self._config.daemon.memory_limit_mb)
        if spare_mb is not None and spare_mb < needed:
            raise ModelError(f"a conversion takes {needed:.0f} MB of memory, {spare_mb:.0f} MB are free")

    def _heard(self, line: str) -> None:
        if "/" in line and self.step:
            self.step = f"{self.step.partition(' (')[0]} ({line})"
        else:
            self.step = line

    def _started(self, stop: Callable[[], None]) -> None:
        with self._lock:
            self._stop = stop
            is_stopped = self._is_stopped
        if is_stopped:
            stop()


@contextlib.contextmanager
def memory_file(name: str) -> Iterator[Path]:
    """Yield the path of an empty file that exists in memory only; child processes can open it, too."""
    descriptor = os.memfd_create(name)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)
