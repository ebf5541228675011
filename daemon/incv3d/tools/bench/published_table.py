"""Provide the published benchmark's table, and print results as its script does.

"Inception-v3 speed: Raspberry Pi 3", TensorFlow 0.11, 2016-12-01. A run is the time between the start of
``Session.run('softmax:0', {'DecodeJpeg/contents:0': jpeg})`` and its return, decoding and resizing inside;
build is reading, parsing and importing the GraphDef; 25 runs each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PI3 = "Raspberry Pi 3"
CPP_TOOL_S = 0.5
"""Time that TensorFlow's C++ benchmark tool was said to take on the same Raspberry Pi."""
V1_MULTIPLY_ADDS = 1.50e9
"""Per run of the C++ tool's default network, Inception v1 at 224x224 (torchvision's table of models)."""
V3_MULTIPLY_ADDS = 5.71e9
"""Per run of Inception-v3 at 299x299 (the same table)."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of the published table; seconds."""

    warmup_runs: int
    machine: str
    best_s: float
    worst_s: float
    average_s: float
    build_s: float


PUBLISHED = (
    PublishedRow(10, PI3, 1.8646, 2.1782, 1.9805, 4.8962),
    PublishedRow(10, "Intel i7-3740QM (MacBook Pro)", 0.2146, 0.2425, 0.2272, 1.3104),
    PublishedRow(10, "Intel i7-5820K (Ubuntu 14.04)", 0.1397, 0.1730, 0.1567, 0.7064),
    PublishedRow(10, "NVIDIA Titan X + i7-5820K", 0.0240, 0.0290, 0.0259, 0.9566),
    PublishedRow(0, PI3, 1.8541, 6.3338, 2.0656, 4.9755),
    PublishedRow(0, "Intel i7-3740QM (MacBook Pro)", 0.2174, 1.3151, 0.2662, 1.2761),
    PublishedRow(0, "Intel i7-5820K (Ubuntu 14.04)", 0.1435, 0.7027, 0.1750, 0.7103),
    PublishedRow(0, "NVIDIA Titan X + i7-5820K", 0.0232, 1.5800, 0.0871, 0.7659),
)
PI3_AVERAGE_S = PUBLISHED[0].average_s


def published_rows(warmup_runs: int) -> list[PublishedRow]:
    """Return the published rows for `warmup_runs`: those for 0, otherwise those for 10."""
    return [row for row in PUBLISHED if row.warmup_runs == (0 if warmup_runs == 0 else 10)]


def published_lines(runs_s: Sequence[float], build_s: float, warmup_runs: int) -> Iterator[str]:
    """Yield exactly the lines that the published script prints.

    :param runs_s: the measured runs, at least one.
    """
    for number, run_s in enumerate(runs_s):
        yield f"Run {number:03d}:\t{run_s:0.4f} seconds"
    yield "---"
    yield f"Best run: {min(runs_s):0.4f}"
    yield f"Worst run: {max(runs_s):0.4f}"
    yield f"Average run: {sum(runs_s) / len(runs_s):0.4f}"
    yield f"Build graph time: {build_s:0.4f}"
    yield f"Number of warmup runs: {warmup_runs}"
    yield f"Number of test runs: {len(runs_s)}"
