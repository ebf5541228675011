"""Which pictures are of one burst."""

from __future__ import annotations

import numpy as np
import pytest

from incv3d.models.taught.head import normalize
from incv3d.teaching.groups import Origin, find_groups, time_in_name


def scenes(count: int, each: int, likeness: float = 0.3, seed: int = 0) -> np.ndarray:
    """Features of `each` pictures of `count` scenes."""
    random = np.random.default_rng(seed)
    scene = np.repeat(random.normal(size=(count, 32)), each, axis=0)
    return normalize((1.0 + scene + likeness * random.normal(size=scene.shape)).astype(np.float32))


def sizes(groups: np.ndarray) -> list[int]:
    return sorted(np.bincount(groups).tolist())


def test_a_folder_within_a_class_is_a_group() -> None:
    origins = [
        Origin("1.jpg", "monday"),
        Origin("2.jpg", "monday"),
        Origin("1.jpg", "tuesday"),
        Origin("3.jpg"),
    ]
    groups = find_groups(origins, scenes(4, 1), np.zeros(4, np.intp))
    assert groups[0] == groups[1] and sizes(groups) == [1, 1, 2]


def test_classes_never_share_a_group() -> None:
    groups = find_groups(
        [Origin("1.jpg", "monday")] * 2, np.repeat(scenes(1, 1), 2, axis=0), np.array([0, 1])
    )
    assert groups[0] != groups[1]


def test_variants_of_one_picture_are_a_group() -> None:
    origins = [Origin("rose_nohash_0.jpg"), Origin("rose_nohash_1.jpg"), Origin("tulip_nohash_0.jpg")]
    assert sizes(find_groups(origins, scenes(3, 1), np.zeros(3, np.intp))) == [1, 2]


def test_pictures_taken_within_seconds_are_a_group() -> None:
    times = [0.0, 10.0, 20.0, 300.0, 310.0, 86_400.0]
    order = [3, 0, 5, 1, 4, 2]
    groups = find_groups([Origin(taken_s=times[at]) for at in order], scenes(6, 1), np.zeros(6, np.intp))
    by_time = [groups[order.index(at)] for at in range(6)]
    assert len(set(by_time[:3])) == len(set(by_time[3:5])) == 1 and len(set(by_time)) == 3


def test_nearly_identical_pictures_are_a_group() -> None:
    groups = find_groups([Origin()] * 40, scenes(10, 4, likeness=0.05), np.zeros(40, np.intp))
    assert sizes(groups) == [4] * 10


@pytest.mark.parametrize("prefix", ["", "exp{}_num_"])
def test_numbers_that_lie_close_are_a_burst_if_the_pictures_are_alike(prefix: str) -> None:
    random = np.random.default_rng(3)
    numbers = [scene * 1000 + 20 * at for scene in range(20) for at in range(6)]
    names = [f"{prefix.format(random.integers(6))}{number}.jpg" for number in numbers]
    alike = find_groups([Origin(name) for name in names], scenes(20, 6, likeness=0.6), np.zeros(120, np.intp))
    assert sizes(alike) == [6] * 20
    different = find_groups([Origin(name) for name in names], scenes(120, 1), np.zeros(120, np.intp))
    assert sizes(different) == [1] * 120


def test_pictures_numbered_without_gaps_are_split_where_the_scene_changes() -> None:
    names = [Origin(f"img_{number:03}.jpg") for number in range(100)]
    groups = find_groups(names, scenes(10, 10, likeness=0.4), np.zeros(100, np.intp))
    assert 8 <= len(set(groups.tolist())) <= 14
    assert all(len(set(groups[start : start + 10].tolist())) <= 2 for start in range(0, 100, 10))
    unrelated = find_groups(names, scenes(100, 1), np.zeros(100, np.intp))
    assert sizes(unrelated) == [1] * 100


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("20260131T120010.500Z_cat_0.93.jpg", 1769860810.0),
        ("IMG_20260131_120010.jpg", 1769860810.0),
        ("2026-01-31 12.00.10.jpg", 1769860810.0),
        ("frame-2026-01-31-12-00-10-03.png", 1769860810.0),
        ("20269931_120010.jpg", None),
        ("0013035.jpg", None),
        ("exp6_num_45116.jpg", None),
        ("", None),
    ],
)
def test_a_time_in_a_name_is_read(name: str, seconds: float | None) -> None:
    assert time_in_name(name) == seconds
