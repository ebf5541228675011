"""What a process holds, sampled from /proc, and whether it grows."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEAST_SAMPLES = 10
BLOCKS = 20
"""Neighbouring samples of memory are alike: they are averaged into so many blocks before a line is drawn."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process. Memory is what belongs to it alone, without files that are mapped."""

    at_s: float
    memory_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth an hour, and its 95 % confidence interval."""

    per_hour: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Whether no slope of zero or less lies within the interval."""
        return self.low > 0

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} an hour (95 %: {self.low:+.2f} to {self.high:+.2f})"


def sample(pid: int, at_s: float) -> Sample:
    """Look at a process now."""
    status = _status(pid)
    return Sample(
        at_s,
        int(status["RssAnon"].split()[0]) / 1024,
        len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208
        int(status["Threads"]),
    )


def peak_and_anonymous_mb(pid: int) -> tuple[float, float]:
    """The most that a process ever took (``VmHWM``), and what of it now is anonymous (``RssAnon``)."""
    status = _status(pid)
    peak, anonymous = (int(status[key].split()[0]) / 1024 for key in ("VmHWM", "RssAnon"))
    return peak, anonymous


def slope(at_s: Sequence[float], values: Sequence[float]) -> Slope:
    """The least-squares line through `values`.

    The interval is Student's t for the means of :data:`BLOCKS` blocks; 1.96 + 2.5 / dof is within 2 % of its
    97.5th percentile from 8 degrees of freedom on.
    """
    if len(values) < LEAST_SAMPLES:
        raise ValueError(f"{len(values)} samples are too few for a slope")
    blocks = min(BLOCKS, len(values))
    x = np.array([block.mean() for block in np.array_split(np.array(at_s) / 3600, blocks)])
    y = np.array([block.mean() for block in np.array_split(np.array(values, float), blocks)])
    (per_hour, start), dof = np.polyfit(x, y, 1), blocks - 2
    residual = y - (per_hour * x + start)
    error = math.sqrt(float(residual @ residual) / dof / float(((x - x.mean()) ** 2).sum()))
    margin = (1.96 + 2.5 / dof) * error
    return Slope(float(per_hour), float(per_hour) - margin, float(per_hour) + margin)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)
