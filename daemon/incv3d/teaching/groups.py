"""Find the groups of a teaching set: pictures of one burst, which must never lie on both sides of a split.

Ten pictures of one scene, taken within seconds, are hardly more than one. If some of them teach and the
others test, a head seems to know what it has only seen before. Everything that is measured here leaves out
whole groups.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from incv3d.teaching.logistic import Floats, Indices

BURST_S = 30.0
"""A longer pause between two pictures of a class begins a new group."""
NEAR = 0.97
"""The cosine from which two pictures of a class are nearly the same picture."""
ROWS = 256
"""Pictures compared with the others at a time: this bounds the memory."""
FEWEST = 8
"""Numbers in file names say nothing about fewer pictures."""
DISTINCT = 6.0
"""Between bursts, the numbers must be at least this many times as far apart as in them."""
ALIKE = 90
"""Neighbors are of one burst if they are usually more alike than this percentage of the other pairs."""
SAME_SEED = re.compile(r"(.+)_nohash_", re.DOTALL)
"""Pictures that are variants of one, by the convention of TensorFlow's ``retrain.py``."""
TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_ T.]{0,2}(\d\d)[-_:.h]?(\d\d)[-_:.m]?(\d\d)"
)
NUMBER = re.compile(r"\d+(?=\D*$)")


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a picture's origin, besides what it shows."""

    name: str = ""
    """The name of its file, without folders; empty: unknown."""
    folder: str = ""
    """The sub-folder of its class; pictures that share one are a group."""
    taken_s: float | None = None
    """When it was taken, in seconds since 1970; None: unknown."""


def time_in_name(name: str) -> float | None:
    """Return the time in a file's name, ``IMG_20260131_120000.jpg`` for example, in seconds; None: none."""
    for found in TIME.finditer(name):
        try:
            return datetime(*(int(part) for part in found.groups()), tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]
        except ValueError:  # digits, but no time
            continue
    return None


def find_groups(origins: Sequence[Origin], unit: Floats, y: Indices) -> Indices:
    """Return the group of each picture as a number; those of different classes are never in one group.

    A sub-folder is a group, and so are the variants of one picture. Of the others, those whose time is known
    are grouped by time; the rest by what they show, and by their numbers if these show bursts.

    :param unit: normalized features, one row a picture.
    :param y: the class of each picture.
    """
    groups = np.arange(len(y))
    for label in np.unique(y):
        by_key: dict[str, list[int]] = {}
        timed, others = [], []
        for at in np.flatnonzero(y == label).tolist():
            origin = origins[at]
            variant = SAME_SEED.match(origin.name)
            if origin.folder or variant:
                by_key.setdefault(f"{origin.folder}/{variant[1] if variant else ''}", []).append(at)
            elif origin.taken_s is not None:
                timed.append(at)
            else:
                others.append(at)
        for same in by_key.values():
            groups[same] = same[0]
        _join_by_time(groups, np.array(timed, np.intp), origins)
        loose = np.array(others, np.intp)
        _join_alike(groups, loose, unit)
        _join_by_number(groups, loose, origins, unit)
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _join(groups: Indices, members: npt.NDArray[np.intp]) -> None:
    """Make one group of the groups of `members`."""
    found = np.unique(groups[members])
    if len(found) > 1:
        groups[np.isin(groups, found)] = found[0]


def _join_by_time(groups: Indices, at: Indices, origins: Sequence[Origin]) -> None:
    if len(at):
        times = np.array([origins[each].taken_s for each in at], np.float64)
        order = np.argsort(times, kind="stable")
        burst = np.cumsum(np.diff(times[order], prepend=times[order[0]]) > BURST_S)
        first = at[order[np.searchsorted(burst, burst)]]
        groups[at[order]] = first


def _join_alike(groups: Indices, at: Indices, unit: Floats) -> None:
    """Join nearly identical pictures: the connected components, found row by row."""
    own = unit[at]
    for start in range(0, len(at), ROWS):
        near = own[start : start + ROWS] @ own[start:].T >= NEAR
        for row in np.flatnonzero(near.sum(axis=1) > 1):
            _join(groups, at[start + np.flatnonzero(near[row])])


def _join_by_number(groups: Indices, at: Indices, origins: Sequence[Origin], unit: Floats) -> None:
    """Join pictures with close numbers in their names, if the pictures confirm that these show bursts."""
    found = [(int(number[0]), each) for each in at.tolist() if (number := NUMBER.search(origins[each].name))]
    if len(found) < FEWEST or len(found) < 0.8 * len(at):
        return
    found.sort()
    order = np.array([each for _, each in found])
    gaps = np.diff([float(number) for number, _ in found])
    likeness = np.einsum("ij,ij->i", unit[order[:-1]], unit[order[1:]])
    usual = _likeness_of_strangers(unit[order])
    largest = _largest_gap_in_a_burst(gaps)
    is_burst = gaps <= largest
    if np.median(likeness[is_burst]) < np.percentile(usual, ALIKE):
        return
    if is_burst.all():
        # Numbered without gaps: only what they show can tell where a burst ends.
        is_burst = likeness >= np.percentile(usual, ALIKE)
    for left, right in zip(order[:-1][is_burst], order[1:][is_burst], strict=True):
        _join(groups, np.array([left, right]))


def _likeness_of_strangers(unit: Floats) -> Floats:
    """Return the cosines of pictures that are far apart in the order of their numbers."""
    count = len(unit)
    shifts = {count // 2, count // 3, count // 2 + 1, 2 * count // 5}
    return np.concatenate([np.einsum("ij,ij->i", unit, np.roll(unit, shift, axis=0)) for shift in shifts])


def _largest_gap_in_a_burst(gaps: npt.NDArray[np.float64]) -> float:
    """Return the largest gap of the small ones; if they do not fall into two kinds, the largest of all.

    The limit is where the variance between the two kinds, of the logarithms, is largest (Otsu, 1979).
    """
    logs = np.sort(np.log(np.maximum(gaps, 0.5)))
    count = len(logs)
    sums, below = np.cumsum(logs)[:-1], np.arange(1, count)
    means_below, means_above = sums / below, (logs.sum() - sums) / (count - below)
    between = below * (count - below) * np.square(means_above - means_below)
    at = int(np.argmax(between))
    apart = means_above[at] - means_below[at]
    return float(np.exp(logs[at]) * 1.0001) if apart > np.log(DISTINCT) else float(gaps.max())
