"""Describe the conversion that a child process makes while the daemon serves, and its verdict.

The child is ``python -m incv3d.tools.conversion.tuning JOB``. It runs at idle priority, never imports
TensorFlow, and keeps the conversion with the model only if it agrees. To stop it early, send it SIGTERM: it
ends its own children and removes what it began.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from incv3d.models.conversions import Comparison, Precision
from incv3d.models.entry import ModelError
from incv3d.models.prepare import run_child

TUNER = "incv3d.tools.conversion.tuning"


class TuningJob(msgspec.Struct, frozen=True, kw_only=True):
    """The conversion to make, passed to the child as JSON."""

    store: str
    """The root of the :class:`ModelStore`."""
    model: str
    """The name of a model in it whose format is ``graphdef``."""
    precision: Precision = "int8"
    pixels: str
    """A :class:`PixelFile` of the model's input shape."""
    calibrating: tuple[int, ...]
    """Numbers of the images in it that calibrate."""
    held_back: tuple[int, ...]
    """Numbers of those that judge."""
    min_agreement: float
    """The least top-1 agreement with the float network on these, from 0 to 1."""
    threads: int
    """Cores per run."""
    memory_mb: int = 0
    """The most memory that the child and each of its own children may allocate, in MiB, not counting files
    that they map read-only; 0: no limit."""


class TuningVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a conversion."""

    kept: bool
    """Whether the conversion is now stored with the model."""
    complaint: str
    """Why it was not kept; empty if it was."""
    comparison: Comparison


def run_tuning(
    job: TuningJob,
    heard: Callable[[str], None] = lambda line: None,
    started: Callable[[Callable[[], None]], None] = lambda stop: None,
) -> TuningVerdict:
    """Run the conversion in a child process, and wait for its verdict.

    :param heard: called with the name of each step, and with ``DONE/TOTAL`` while it proceeds.
    :param started: called with a function that stops the child, for another thread.
    :raises ModelError: it cannot be converted, was stopped, or memory or disk space is too small.
    """
    lines: list[str] = []

    def listen(line: str) -> None:
        if line.startswith("{"):
            lines.append(line)
        else:
            heard(line)

    run_child(TUNER, [msgspec.json.encode(job).decode()], heard=listen, started=started)
    if not lines:
        raise ModelError(f"{job.model}: the conversion ended without a verdict")
    return msgspec.json.decode(lines[-1], type=TuningVerdict)
