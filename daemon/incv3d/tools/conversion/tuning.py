"""Convert a model with prepared pixels, at idle priority: ``python -m incv3d.tools.conversion.tuning JOB``.

Standard output: a line for each step, ``DONE/TOTAL`` while it proceeds, and at last the verdict as JSON.
The exit status is 0 if there is a verdict, good or bad.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType

import msgspec

from incv3d.child_process import decode, encode, report_failures
from incv3d.config.schema import Config
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.quantise import needed_mb
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.store import ModelStore
from incv3d.models.tuning import TuningJob, TuningVerdict
from incv3d.tools.conversion.calibration import CalibrationSet
from incv3d.tools.conversion.convert import SCRATCH, check_convertible, check_disk, convert_pixels, make_ready


class PrintedProgress:
    """Prints the progress for the parent process."""

    def step(self, what: str) -> None:
        """Begin a new step."""
        print(what, flush=True)  # noqa: T201 - the parent process reads it

    def count(self, done: int, total: int) -> None:
        """Show how much of the step is done."""
        print(f"{done}/{total}", flush=True)  # noqa: T201 - the parent process reads it


def tune(job: TuningJob) -> TuningVerdict:
    """Convert, compare, and store the conversion if it agrees well enough.

    :raises ModelError: it cannot be converted, or the store cannot be written.
    :raises SessionError: the conversion cannot be run.
    """
    store = ModelStore(Path(job.store))
    model = store.get(job.model)
    check_convertible(model, job.precision)
    least_mb = needed_mb(model.size_bytes / 2**20)
    if job.memory_mb and job.memory_mb < least_mb:
        raise ModelError(
            f"converting {model.name} takes {least_mb:.0f} MB of memory, the limit is {job.memory_mb} MB"
        )
    pixels = PixelFile(Path(job.pixels), model.session_spec(1).input_shape)
    images = CalibrationSet(pixels, job.calibrating, job.held_back, damaged=0, repeated=0)
    session = msgspec.structs.replace(Config().session, threads=job.threads)
    config = msgspec.structs.replace(Config(), session=session)
    progress = PrintedProgress()
    with store.scratch_folder(SCRATCH) as scratch:
        check_disk(scratch, model, 0)
        result = convert_pixels(
            config,
            store,
            model,
            job.precision,
            images,
            job.min_agreement,
            scratch,
            progress,
            frugal=True,
        )
    make_ready(store, model, result, progress)
    return TuningVerdict(
        kept=result.kept is not None, complaint=result.complaint, comparison=result.comparison
    )


def become_idle(memory_mb: int) -> None:
    """Limit this process and its children to processor time that no other process wants, and in memory."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:  # a sandbox may forbid it
        with contextlib.suppress(OSError):
            os.nice(19)
    if memory_mb:
        most = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _stop(number: int, frame: FrameType | None) -> None:
    """End like any other failure, so that children are killed and the scratch folder is removed."""
    sys.exit("the conversion was stopped")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    with report_failures():
        try:
            tuning = decode(sys.argv[1], TuningJob)
            become_idle(tuning.memory_mb)
            print(encode(tune(tuning)), flush=True)  # noqa: T201 - the parent process reads it
        except RuntimeError as failure:
            if "start new thread" not in str(failure):  # which needs memory for its stack
                raise
            raise MemoryError from None
