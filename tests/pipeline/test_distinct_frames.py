"""Frames that are kept of a source: distinct ones, spread over a period, in bounded memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from incv3d.images.encode import encode_jpeg
from incv3d.pipeline.distinct_frames import LOOKS, QUALITY, DistinctFrames, frame_of
from noisy_images import Camera
from sample_images import INCEPTION, PREPARE, smooth
from tunable_models import scene

PERIOD_S, SIDE = 480.0, 32
LOOK_S = PERIOD_S / LOOKS


def test_distinct_scenes_are_all_kept_in_their_order() -> None:
    distinct = DistinctFrames(20, PERIOD_S)
    for number in range(12):
        assert distinct.is_due("porch", number * LOOK_S)
        assert distinct.look("porch", number * LOOK_S, scene(number), SIDE)
    assert len(distinct) == distinct.looks == 12
    for number, jpeg in enumerate(distinct.jpegs):
        shown = np.asarray(Image.open(io.BytesIO(jpeg)), np.float32)
        assert np.abs(shown - scene(number)).mean() < 5


def test_a_still_scene_is_kept_once_whatever_its_noise_and_flicker() -> None:
    distinct, camera, still = DistinctFrames(20, PERIOD_S), Camera(3), np.asarray(smooth(640, 480))
    for number in range(10):
        light = 0.97 if number % 2 else 1.03
        distinct.look("porch", number * LOOK_S, camera.take(still, 10, light, 0), SIDE)
    assert len(distinct) == 1 and distinct.dark == 0 and distinct.looks == 10


def test_a_scene_that_returns_is_not_kept_again() -> None:
    distinct = DistinctFrames(20, PERIOD_S)
    for number in range(10):
        distinct.look("porch", number * LOOK_S, scene(number % 2), SIDE)
    assert len(distinct) == 2


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_a_dark_or_blank_frame_shows_nothing(level: int) -> None:
    distinct = DistinctFrames(20, PERIOD_S)
    noise = np.random.default_rng(1).integers(-3, 4, (48, 64, 3))
    blank = np.clip(np.full((48, 64, 3), level) + noise, 0, 255).astype(np.uint8)
    assert not distinct.look("porch", 0.0, blank, SIDE)
    assert len(distinct) == 0 and distinct.dark == 1


def test_each_region_is_looked_at_in_turn() -> None:
    distinct = DistinctFrames(20, PERIOD_S)
    distinct.look("porch.left", 0.0, scene(0), SIDE)
    assert not distinct.is_due("porch.left", LOOK_S * 0.9) and distinct.is_due("porch.right", 0.0)
    assert distinct.is_due("porch.left", LOOK_S)


def test_a_full_collection_makes_room_and_stays_spread_over_all_the_time() -> None:
    most, kept_at, now = 16, {}, 0.0
    distinct = DistinctFrames(most, PERIOD_S)
    for number in range(int(PERIOD_S / LOOK_S)):
        now = number * LOOK_S
        before = len(distinct)
        assert distinct.is_due("porch", now) and distinct.look("porch", now, scene(number), SIDE)
        kept_at[encode_jpeg(scene(number), QUALITY)] = now
        assert len(distinct) == min(before + 1, most), "it lost more than one"
    times = [kept_at[jpeg] for jpeg in distinct.jpegs]
    gaps = np.diff([0.0, *times, PERIOD_S])
    assert gaps.max() <= PERIOD_S / 5, times


def test_a_large_image_is_reduced_to_what_the_network_sees() -> None:
    distinct = DistinctFrames(2, PERIOD_S)
    # Without fine details, which bilinear resizing alone would turn into other patterns.
    large = np.asarray(smooth(375, 250).resize((3000, 2000), Image.Resampling.BICUBIC))
    assert distinct.look("porch", 0.0, large, INCEPTION.width)
    (jpeg,) = distinct.jpegs
    width, height = Image.open(io.BytesIO(jpeg)).size
    assert width * height <= (2 * INCEPTION.width) ** 2 and width / height == pytest.approx(1.5, abs=0.02)
    assert len(jpeg) < 200_000
    want = PREPARE.feed(large)
    assert np.abs(PREPARE(frame_of(jpeg)) - want).mean() < 0.05
