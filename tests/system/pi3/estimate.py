"""The time of one inference on a Raspberry Pi 3, from what was counted of it with one thread.

The caches are simulated and the issue of instructions is modelled. What both miss (the kernel's work, missed
branches, the instruction cache, the TLB, threads that wait for each other) is in constants, which
``calibration.py`` fits to times that others published.
"""

from __future__ import annotations

from dataclasses import dataclass

from counting import KHZ, Counts

HZ = KHZ * 1000
CORES = 4
BAND = 0.2
"""The fraction by which an estimate may be wrong; ``calibration.py`` counts the published times within it."""


@dataclass(frozen=True, slots=True)
class Constants:
    """What is fitted."""

    stalls: float
    """Cycles that one thread takes, over those of the issue model."""
    line_s: float
    """Seconds that one thread waits for a cache line from memory."""
    stalls_of_4: float
    """The same as ``stalls`` for four threads, each with a quarter of the instructions."""
    line_of_4_s: float
    """Seconds that a cache line takes from or to memory, with four threads."""


CONSTANTS = Constants(stalls=1.217, line_s=12.6e-9, stalls_of_4=1.032, line_of_4_s=21.8e-9)
"""As ``calibration.fit`` finds them, rounded."""


def one_thread_s(counts: Counts, constants: Constants = CONSTANTS, hz: float = HZ) -> float:
    """Return the time of a run with one thread."""
    return constants.stalls * counts.cycles / hz + constants.line_s * counts.fills


def four_threads_s(counts: Counts, constants: Constants = CONSTANTS, hz: float = HZ) -> float:
    """Return the time of a run with four threads, which share the work evenly, and the memory."""
    lines = counts.fills + counts.writebacks
    return constants.stalls_of_4 * counts.cycles / hz / CORES + constants.line_of_4_s * lines
