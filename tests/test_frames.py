"""What a region of a frame is: a part of the same bytes, under a name of its own."""

from __future__ import annotations

import pytest

from incv3d.frames import Frame, Region, by_region


def test_a_frame_becomes_one_for_each_region_with_the_same_bytes() -> None:
    frame = Frame("porch", bytearray(b"picture"), "jpeg", received=2.0, captured=1.0, id=7)
    regions = {"feeder": Region(0, 0, 0.5, 0.5), "door": Region(0.5, 0, 0.5, 1)}
    feeder, door = by_region(frame, regions)
    assert (feeder.source, feeder.region) == ("porch.feeder", regions["feeder"])
    assert (door.source, door.region) == ("porch.door", regions["door"])
    assert feeder.data is door.data is frame.data
    assert (door.captured, door.id) == (1.0, 7)
    assert by_region(frame, {}) == (frame,)


@pytest.mark.parametrize(
    ("region", "size", "box"),
    [
        (Region(0, 0, 1, 1), (640, 480), (0, 0, 640, 480)),
        (Region(0.1, 0.2, 0.2, 0.1), (640, 480), (64, 96, 192, 144)),  # 0.1 + 0.2 is more than 0.3
        (Region(0.5, 0, 0.5, 1), (641, 1), (320, 0, 641, 1)),
        (Region(0.7, 0.9, 0.3, 0.1), (10, 10), (7, 9, 10, 10)),
        (Region(0.999, 0.999, 0.001, 0.001), (16, 16), (15, 15, 16, 16)),
        (Region(1e-12, 1 - 1e-12, 1e-12, 1e-12), (16, 16), (0, 15, 1, 16)),
    ],
)
def test_a_region_is_whole_pixels_within_the_picture(region, size, box) -> None:
    assert region.box(*size) == box
