"""picamera2: held to the signatures of the real library, over a libcamera that only a Pi's system has."""

from __future__ import annotations

import concurrent.futures
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock, create_autospec

import numpy as np
import pytest

from incv3d.sources import FrameSource, SourceAbsent, SourceError

if importlib.util.find_spec("picamera2") is None:
    pytest.skip("needs picamera2's source: pip install --no-deps picamera2", allow_module_level=True)

SYSTEM_LIBRARIES = (
    "libcamera",
    "pykms",
    "prctl",
    "videodev2",
    "piexif",
    "pidng",
    "pidng.camdefs",
    "pidng.core",
)
"""What picamera2 is made on, and what is not there off a Pi; the signatures do not depend on it."""

CAMERAS = [
    {"Num": 1, "Model": "imx219", "Id": "/base/soc/i2c0mux/i2c@1/imx219@10"},
    {"Num": 2, "Model": "imx219", "Id": "/base/soc/i2c0mux/i2c@0/imx219@10"},
    {"Num": 0, "Model": "HD Webcam C270", "Id": "/base/soc/usb@7e980000/hub@1/1.2:1.0-046d:0825"},
]
"""As ``global_camera_info`` gives them: those on USB come last."""


class Camera:
    """``Picamera2`` as `create_autospec` sees the real class, and a request that it completes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, adapter: Any) -> None:
        import libcamera
        import picamera2
        from picamera2.job import Job
        from picamera2.request import CompletedRequest

        self.adapter = adapter
        self.transform = libcamera.Transform
        self.kind = create_autospec(picamera2.Picamera2)
        self.kind.global_camera_info = create_autospec(
            picamera2.Picamera2.global_camera_info, return_value=CAMERAS
        )
        self.made = self.kind.return_value
        self.made.camera_properties = {"PixelArraySize": (3280, 2464)}
        self.made.camera_controls = {"FrameDurationLimits": (1, 2, 3)}
        self.job = create_autospec(Job, instance=True)
        self.request = create_autospec(CompletedRequest, instance=True)
        self.pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
        self.request.make_array.return_value = self.pixels
        self.request.get_metadata.side_effect = lambda: {
            "SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 20_000_000
        }
        self.made.capture_request.return_value = self.job
        self.job.get_result.return_value = self.request
        monkeypatch.setattr(picamera2, "Picamera2", self.kind)

    def open(self, camera: int = 0, transform: str = "none", **controls: Any) -> FrameSource:
        source: FrameSource = self.adapter.Picamera2Source(
            "porch", camera, (640, 480), 30.0, transform, controls
        )
        return source


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    missing = [name for name in SYSTEM_LIBRARIES if importlib.util.find_spec(name.split(".")[0]) is None]
    for name in missing:
        monkeypatch.setitem(sys.modules, name, MagicMock(name=name))
    yield Camera(monkeypatch, importlib.import_module("incv3d.sources.picamera2"))
    for name in [name for name in sys.modules if name.split(".")[0] == "picamera2"]:
        del sys.modules[name]


def test_a_frame_is_what_the_camera_calls_rgb888_and_has_the_sensors_time(camera: Camera) -> None:
    before = time.monotonic()
    frame = camera.open().capture(0.0)
    assert frame and (frame.encoding, frame.width, frame.height) == ("bgr24", 6, 4)
    assert bytes(frame.data) == camera.pixels.tobytes()
    assert 0.019 < frame.received - frame.captured < 1.0 and frame.received >= before
    assert camera.made.create_video_configuration.call_args.kwargs["main"] == {
        "size": (640, 480),
        "format": "RGB888",
    }


def test_the_buffer_is_given_back_also_when_it_cannot_be_read(camera: Camera) -> None:
    source = camera.open()
    source.capture(0.0)
    assert camera.request.release.call_count == 1
    camera.request.make_array.side_effect = RuntimeError("Stream 'main' is not defined")
    with pytest.raises(RuntimeError):
        source.capture(0.0)
    assert camera.request.release.call_count == 2


def test_the_whole_field_of_view_and_the_controls_are_asked_for(camera: Camera) -> None:
    camera.open(1, "rotate180", ExposureTime=10_000, ColourGains=[1.5, 2.0])
    assert camera.kind.call_args.args == (1,)
    how = camera.made.create_video_configuration.call_args.kwargs
    assert how["sensor"] == {"output_size": (1640, 1232)} and how["queue"] is False
    camera.transform.assert_called_with(hflip=1, vflip=1)
    assert camera.made.set_controls.call_args.args == (
        {"FrameRate": 30.0, "ExposureTime": 10_000, "ColourGains": (1.5, 2.0)},
    )
    assert camera.made.start.call_count == 1


def test_a_turn_of_90_degrees_is_not_asked_of_libcamera_which_refuses_it(camera: Camera) -> None:
    camera.open(0, "rotate90")
    camera.transform.assert_called_with(hflip=0, vflip=0)


def test_frames_that_were_taken_too_early_are_passed_over(camera: Camera) -> None:
    wanted = time.monotonic() + 0.05
    frame = camera.open().capture(wanted)
    assert frame and frame.captured >= wanted
    assert camera.request.release.call_count >= 2, "the first was exposed before it was wanted"


def test_a_capture_that_gets_nothing_ends_when_it_is_interrupted(camera: Camera) -> None:
    source = camera.open()

    def nothing(timeout: float) -> None:
        source.interrupt()
        raise concurrent.futures.TimeoutError

    camera.job.get_result.side_effect = nothing
    assert source.capture(0.0) is None


def test_a_camera_that_is_not_there_is_absent_and_one_in_use_is_said(camera: Camera) -> None:
    with pytest.raises(SourceAbsent, match="no camera 2: libcamera found 2"):
        camera.open(2)
    camera.kind.side_effect = RuntimeError("Camera __init__ sequence did not complete.")
    with pytest.raises(SourceError, match="is another program using it"):
        camera.open()


def test_a_control_that_libcamera_has_not_is_said_and_the_camera_given_back(camera: Camera) -> None:
    camera.made.set_controls.side_effect = RuntimeError("Control Exposure is not advertised by libcamera")
    with pytest.raises(SourceError, match="Control Exposure is not advertised"):
        camera.open(Exposure=1)
    assert camera.made.close.call_count == 1


def test_a_sensor_with_a_clock_of_its_own_has_no_time(camera: Camera) -> None:
    assert camera.adapter.sensor_time({}, 5.0) == 5.0
    assert camera.adapter.sensor_time({"SensorTimestamp": 17}, 5.0) == 5.0


def test_cameras_are_listed_by_their_index_and_usb_is_left_to_v4l2(camera: Camera) -> None:
    found = list(camera.adapter.list_cameras())
    assert [each.configuration for each in found] == [
        "source: {type: picamera2, camera: 0}",
        "source: {type: picamera2, camera: 1}",
    ]
