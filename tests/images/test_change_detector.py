"""What is new to a camera: what moves, and neither its noise nor its flicker, on photographs made noisy."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from incv3d.engines.base import ImageArray
from incv3d.images.change_detector import ChangeDetector, ChangeLimits, cell_means, changed_fraction
from noisy_images import SIZE, Camera, with_something

THRESHOLD = 0.01
"""The default of the configuration."""


@pytest.fixture(scope="module")
def scenes(shared: Path) -> list[ImageArray]:
    """Every tenth photograph."""
    paths = sorted((shared / "images").glob("*.JPEG"))[::10]
    return [np.asarray(Image.open(path).convert("RGB").resize(SIZE)) for path in paths]


@pytest.mark.parametrize(
    ("noise", "light", "band", "shake"),
    [
        (2, 1, 0, 0),
        (10, 1, 0, 0),
        (30, 1, 0, 0),
        (5, 1.03, 0, 0),
        (5, 0.97, 0, 0),
        (5, 1, 0.04, 0),
        (5, 1, 0, 1),
    ],
)
def test_noise_flicker_and_a_shake_of_a_pixel_are_nothing_new(scenes, noise, light, band, shake) -> None:
    for seed, scene in enumerate(scenes):
        camera, changes = Camera(seed), ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=60)})
        assert changes.has_changed("porch", 0.0, camera.take(scene, noise))
        frame = camera.take(np.roll(scene, shake, axis=1), noise, light, band)
        assert not changes.has_changed("porch", 1.0, frame), f"scene {seed}"


def test_something_that_covers_a_fiftieth_of_the_picture_is_new(scenes) -> None:
    places = [(0.0, 0.0), (0.5, 0.5), (0.9, 0.1), (0.2, 0.8)]
    missed = 0
    for seed, (scene, other) in enumerate(itertools.pairwise(scenes)):
        camera, changes = Camera(seed), ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=60)})
        changes.has_changed("porch", 0.0, camera.take(scene, noise=10))
        for place in places:
            entered = with_something(scene, other, 0.02, place)
            has_changed = changes.has_changed("porch", 1.0, camera.take(entered, noise=10, light=1.03))
            missed += not has_changed
            changes.forget("porch")
            changes.has_changed("porch", 1.0, camera.take(scene, noise=10))
    assert missed <= len(places) * len(scenes) / 20, missed


def test_a_light_that_goes_on_is_new_and_so_is_dusk_in_the_end(scenes) -> None:
    scene = (scenes[0] * 0.5).astype(np.uint8)
    camera, changes = Camera(0), ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=1e9)})
    changes.has_changed("porch", 0.0, camera.take(scene, noise=5))
    assert changes.has_changed("porch", 1.0, camera.take(scene, noise=5, light=1.6))
    found = [changes.has_changed("porch", 2.0, camera.take(scene, 5, 1.6 * 0.97**step)) for step in range(40)]
    assert 1 <= sum(found) <= 10, "each step is small, all of them together are not"


def test_what_moves_slowly_is_compared_with_what_was_classified_last(scenes) -> None:
    camera, changes = Camera(0), ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=1e9)})
    changes.has_changed("porch", 0.0, camera.take(scenes[0], noise=5))
    found = [
        changes.has_changed("porch", 1.0, camera.take(np.roll(scenes[0], step, axis=1), noise=5))
        for step in range(1, 41)
    ]
    assert not found[0] and 2 <= sum(found) < 40


def test_each_source_has_its_own_memory_and_the_first_picture_is_new() -> None:
    changes = ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=60)})
    grey, white = (np.full((48, 64, 3), value, np.uint8) for value in (100, 200))
    assert changes.has_changed("porch.door", 0.0, grey) and changes.has_changed("porch.feeder", 0.0, white)
    assert not changes.has_changed("porch.door", 1.0, grey) and not changes.has_changed(
        "porch.feeder", 1.0, white
    )
    assert changes.has_changed("porch.door", 2.0, white)
    changes.forget("porch.feeder")
    assert changes.has_changed("porch.feeder", 2.0, white) and not changes.has_changed(
        "porch.feeder", 2.0, white
    )


def test_after_the_longest_pause_a_picture_is_new_also_if_it_comes_a_moment_early() -> None:
    changes = ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=60)})
    grey = np.full((48, 64, 3), 100, np.uint8)
    found = [at for at in range(0, 200, 10) if changes.has_changed("porch", at - 0.001 * (at > 0), grey)]
    assert found == [0, 60, 120, 180]


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (64, 48), (211, 97), (1920, 1080)])
def test_a_picture_of_any_size_has_cells_large_enough_to_average_its_noise(size) -> None:
    image = np.full((size[1], size[0], 3), 77, np.uint8)
    cells = cell_means(image)
    rows, columns = cells.shape[:2]
    assert (cells == 77).all() and rows <= 32 and columns <= 32
    assert size[0] // columns >= min(10, size[0]) and size[1] // rows >= min(10, size[1])


def test_how_a_picture_lies_in_memory_makes_no_difference(scenes) -> None:
    before, now = scenes[0], with_something(scenes[0], scenes[1], 0.05, (0.5, 0.5))
    want = changed_fraction(cell_means(before), cell_means(now))
    assert want > THRESHOLD
    for view in (
        lambda image: image[:, :, ::-1],
        lambda image: image[::-1, ::-1],
        lambda image: image.swapaxes(0, 1)[:, ::-1],
    ):
        assert changed_fraction(cell_means(view(before)), cell_means(view(now))) == want
    grey = np.broadcast_to(before[:, :, 1:2], before.shape)
    assert cell_means(grey).shape == (32, 32, 1) and changed_fraction(cell_means(grey), cell_means(grey)) == 0


def test_a_picture_of_another_size_is_new() -> None:
    changes = ChangeDetector({"porch": ChangeLimits(THRESHOLD, most_s=60)})
    assert changes.has_changed("porch", 0.0, np.zeros((48, 64, 3), np.uint8))
    assert changes.has_changed("porch", 1.0, np.zeros((64, 48, 3), np.uint8))
