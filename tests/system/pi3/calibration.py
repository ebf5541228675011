"""Fits the constants of ``estimate.py`` to times that ncnn's authors and users published for Cortex-A53s.

``tests/run --pi3-speed --calibrate NCNN`` counts the same networks again with the ncnn of PyPI, writes
``a53/calibration.json`` and prints the constants; NCNN is a checkout of ncnn's repository (Tencent/ncnn),
which has the networks. Weights are zero there and here: they do not change what is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from counting import Counts
from estimate import BAND, CONSTANTS, CORES, Constants, four_threads_s, one_thread_s

COUNTED = Path(__file__).resolve().parent / "a53/calibration.json"
PI_3B_PLUS_HZ = 1.4e9
SNAPDRAGON_410_HZ = 1.2e9


@dataclass(frozen=True, slots=True)
class Published:
    """The shortest time of a network on two boards with four Cortex-A53s, ms: ``min`` of benchncnn."""

    pi_3b_plus_1: float
    pi_3b_plus_4: float
    snapdragon_410_1: float


PUBLISHED = {
    "squeezenet": Published(125.34, 84.74, 147.48),
    "squeezenet_int8": Published(135.56, 74.48, 143.20),
    "mobilenet": Published(204.62, 107.84, 243.78),
    "mobilenet_int8": Published(181.34, 66.91, 206.23),
    "mobilenet_v2": Published(158.69, 110.64, 168.04),
    "mobilenet_v3": Published(127.13, 85.78, 147.10),
    "efficientnet_b0": Published(240.94, 134.87, 370.06),
    "googlenet": Published(450.64, 223.78, 525.25),
    "googlenet_int8": Published(424.66, 188.23, 469.78),
    "resnet18": Published(379.21, 270.86, 396.46),
    "resnet18_int8": Published(312.23, 159.57, 324.07),
    "alexnet": Published(270.13, 157.79, 362.44),
    "resnet50": Published(977.51, 583.57, 1136.96),
    "resnet50_int8": Published(890.77, 383.96, 977.73),
}
"""ncnn, benchmark/README.md, "Raspberry Pi 3 Model B+ Broadcom BCM2837B0, Cortex-A53 (ARMv8) (1.4GHz x
4)" and "Qualcomm MSM8916 Snapdragon 410 (Cortex-A53 1.2GHz x 4)"."""


def read_counts() -> dict[str, Counts]:
    """Return what was counted of the networks."""
    return {name: Counts(**fields) for name, fields in json.loads(COUNTED.read_text()).items()}


def write_counts(counts: dict[str, Counts]) -> None:
    """Keep what was counted of the networks."""
    COUNTED.write_text(json.dumps({name: asdict(each) for name, each in counts.items()}, indent=1) + "\n")


def fit(counts: dict[str, Counts]) -> Constants:
    """Find the constants, by least squares of the relative errors.

    With one thread both boards share the stalls, and each has its own memory. With four, the times of the Pi
    are fitted twice, because stalls and memory explain the same times: freely, and with the stalls of one
    thread; the means are taken. The other board's memory is faster than a Pi's with four threads, so those
    times are left out.
    """
    cycles = _column(counts, lambda each: each.cycles)
    fills = _column(counts, lambda each: each.fills)
    lines = _column(counts, lambda each: each.fills + each.writebacks)
    pi_1, pi_4, other_1 = (
        np.array([getattr(PUBLISHED[name], field) for name in counts]) / 1000
        for field in ("pi_3b_plus_1", "pi_3b_plus_4", "snapdragon_410_1")
    )
    none = np.zeros_like(fills)
    stalls, pi_line, other_line = _least_squares(
        np.concatenate([cycles / PI_3B_PLUS_HZ, cycles / SNAPDRAGON_410_HZ]),
        np.concatenate([fills, none]),
        np.concatenate([none, fills]),
        times=np.concatenate([pi_1, other_1]),
    )
    quarter = cycles / PI_3B_PLUS_HZ / CORES
    free_stalls, free_line = _least_squares(quarter, lines, times=pi_4)
    (fixed_line,) = _least_squares(lines, times=pi_4, known=stalls * quarter)
    return Constants(
        stalls=stalls,
        line_s=(pi_line + other_line) / 2,
        stalls_of_4=(stalls + free_stalls) / 2,
        line_of_4_s=(free_line + fixed_line) / 2,
    )


def _column(counts: dict[str, Counts], field: Callable[[Counts], float]) -> npt.NDArray[np.float64]:
    return np.array([field(each) for each in counts.values()], np.float64)


def _least_squares(
    *columns: npt.NDArray[np.float64],
    times: npt.NDArray[np.float64],
    known: npt.NDArray[np.float64] | float = 0.0,
) -> list[float]:
    """Return the factors with which the columns, and what is `known`, add up to the times."""
    table = np.stack(columns, axis=1) / times[:, None]
    factors = np.linalg.lstsq(table, 1 - known / times, rcond=None)[0]
    return [float(each) for each in factors]


def errors(counts: dict[str, Counts], constants: Constants = CONSTANTS) -> dict[str, float]:
    """Return by which fraction the model misses each published time."""
    found = {}
    for name, each in counts.items():
        published = PUBLISHED[name]
        estimates = {
            "Pi 3B+, 1 thread": (one_thread_s(each, constants, PI_3B_PLUS_HZ), published.pi_3b_plus_1),
            "Pi 3B+, 4 threads": (four_threads_s(each, constants, PI_3B_PLUS_HZ), published.pi_3b_plus_4),
            "Snapdragon 410, 1 thread": (
                one_thread_s(each, constants, SNAPDRAGON_410_HZ),
                published.snapdragon_410_1,
            ),
        }
        for where, (estimated_s, published_ms) in estimates.items():
            found[f"{name}, {where}"] = estimated_s * 1000 / published_ms - 1
    return found


def in_words(found: dict[str, float]) -> str:
    """Say how well the published times are met."""
    within = sum(abs(each) <= BAND for each in found.values())
    worst = max(abs(each) for each in found.values())
    return (
        f"published times of another program (ncnn, {len(found)} times) are met within {worst:.0%}, "
        f"{within} of them within {BAND:.0%}"
    )
