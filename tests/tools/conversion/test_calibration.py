"""Images for a conversion: captured or read, and divided into those that calibrate and those that compare."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from doubles import ScriptedCamera, jpeg
from incv3d.frames import Frame, Region
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.sources import SourceError
from incv3d.tools.conversion.calibration import FEWEST, MOST, captured_frames, divide, gather, image_files


def test_images_are_divided_so_that_none_is_on_both_sides() -> None:
    assert divide(5, calibrates=True, in_blocks=False) == ((1, 3), (0, 2, 4))
    assert divide(5, calibrates=True, in_blocks=True) == ((0, 1), (2, 3, 4))
    assert divide(3, calibrates=False, in_blocks=True) == ((), (0, 1, 2))


def test_a_large_folder_is_taken_evenly(tmp_path: Path) -> None:
    for number in range(MOST * 2):
        (tmp_path / f"{number:04}.jpg").touch()
    found = image_files([str(tmp_path), str(tmp_path / "*.jpg")])
    assert len(found) == MOST and found[0].name == "0000.jpg" and found[-1].name == f"{MOST * 2 - 2:04}.jpg"


def test_waiting_for_a_silent_camera_times_out() -> None:
    camera = ScriptedCamera("hang")
    with pytest.raises(SourceError, match="no frame within 0 s"):
        next(captured_frames(camera, interval_s=0, timeout_s=0.2))
    camera.let_go()


def test_a_camera_that_fails_differs_from_one_that_ends() -> None:
    with pytest.raises(SourceError, match="not plugged in"):
        next(captured_frames(ScriptedCamera("absent"), interval_s=0, timeout_s=5))
    with pytest.raises(SourceError, match="has no more frames"):
        next(captured_frames(ScriptedCamera("none"), interval_s=0, timeout_s=5))


def test_frames_come_at_the_configured_interval() -> None:
    camera = ScriptedCamera("frame frame")
    frames = captured_frames(camera, interval_s=3600, timeout_s=5)
    next(frames), next(frames)
    assert camera.asked[0] == 0.0 and camera.asked[1] > time.monotonic() + 3000
    frames.close()


def test_regions_of_a_frame_are_different_images_and_each_is_used(tmp_path: Path) -> None:
    regions = {f"strip-{number}": Region(number / 16, 0, 1 / 16, 1) for number in range(FEWEST)}
    frame = Frame("camera", jpeg(320, 64), None, received=0.0, captured=0.0)

    class Source:
        lost_frames = 0

        def capture(self, after: float) -> Frame:
            return frame

        def interrupt(self) -> None: ...

        def close(self) -> None: ...

    captured = captured_frames(Source, interval_s=0, timeout_s=5, regions=regions)
    frames = [next(captured) for _ in range(FEWEST + 1)]
    captured.close()
    assert [each.region for each in frames] == [*regions.values(), regions["strip-0"]]
    pixels = PixelFile(tmp_path / "pixels", (1, 8, 8, 3))
    preprocessor = Preprocessor(InputSpec(8, 8, 0, 1, "stretch", 1, "bilinear"), 10**6)
    images = gather(frames, preprocessor, pixels, True, False, lambda done: None)
    assert (len(images.calibrating), len(images.held_back), images.repeated) == (5, 5, 1)
