"""The legacy camera: held to the signatures of the real library, whose C libraries only a Pi has."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import io
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock, create_autospec

import numpy as np
import pytest

from incv3d.sources import FrameSource, SourceAbsent, SourceError

if importlib.util.find_spec("picamera") is None:
    pytest.skip("needs picamera: READTHEDOCS=True pip install picamera", allow_module_level=True)


class Camera:
    """The real ``PiCamera`` without its insides: what calls them must fit the real signatures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, adapter: Any) -> None:
        from picamera import PiCamera

        self.adapter = adapter
        self.real = real = PiCamera
        self.set: dict[str, object] = {}
        self.init = create_autospec(real.__init__, return_value=None)
        self.close = create_autospec(real.close, return_value=None)
        self.capture_continuous = create_autospec(real.capture_continuous, side_effect=self._pictures)
        for name in ("close", "capture_continuous"):
            monkeypatch.setattr(real, name, getattr(self, name))
        monkeypatch.setattr(real, "__init__", self.init)
        for name in ("hflip", "vflip", "exposure_mode", "iso"):
            assert isinstance(getattr(real, name), property), f"PiCamera has no property {name}"
            monkeypatch.setattr(real, name, property(lambda camera: None, self._setter(name)))
        self.size = (0, 0)

    def _setter(self, name: str) -> Callable[[object, object], None]:
        return lambda camera, value: self.set.__setitem__(name, value)

    def _pictures(self, camera: object, output: io.BytesIO, **how: object) -> Iterator[io.BytesIO]:
        """Raw pictures as the firmware gives them: widths in steps of 32, heights of 16, the rest black."""
        width, height = self.size
        whole = np.zeros((-(-height // 16) * 16, -(-width // 32) * 32, 3), np.uint8)
        for number in range(1, 4):
            whole[:height, :width] = number
            output.write(whole.tobytes())
            yield output

    def open(self, size: tuple[int, int], transform: str = "none", **controls: Any) -> FrameSource:
        self.size = size
        source: FrameSource = self.adapter.PicameraSource("porch", 1, size, 10.0, transform, controls)
        return source


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    with monkeypatch.context() as no_firmware:
        no_firmware.setattr(ctypes, "CDLL", lambda name, *more, **others: MagicMock(name=name))
        try:
            importlib.import_module("picamera")
        except ImportError as error:
            pytest.skip(f"this picamera does not load on this Python: {error}")
    return Camera(monkeypatch, importlib.import_module("incv3d.sources.picamera"))


@pytest.mark.parametrize("size", [(640, 480), (300, 300), (33, 17), (1, 1)])
def test_the_padding_of_the_firmware_is_cut(camera: Camera, size) -> None:
    source = camera.open(size)
    for number in (1, 2, 3):
        frame = source.capture(0.0)
        assert frame and (frame.encoding, frame.width, frame.height) == ("rgb24", *size)
        assert bytes(frame.data) == bytes([number]) * (size[0] * size[1] * 3)
    with pytest.raises(SourceError, match="no more images"):
        source.capture(0.0)


def test_the_video_port_is_asked_for_raw_images(camera: Camera) -> None:
    source = camera.open((640, 480), "rotate180", exposure_mode="night", iso=800)
    source.capture(0.0)
    assert camera.init.call_args.kwargs == {"camera_num": 1, "resolution": (640, 480), "framerate": 10.0}
    how = camera.capture_continuous.call_args.kwargs
    assert how == {"format": "rgb", "use_video_port": True}
    assert camera.set == {"hflip": True, "vflip": True, "exposure_mode": "night", "iso": 800}
    source.close()
    assert camera.close.call_count == 1


def test_a_turn_of_90_degrees_is_left_to_the_decoder(camera: Camera) -> None:
    camera.open((640, 480), "rotate270")
    assert camera.set == {"hflip": False, "vflip": False}


@pytest.mark.parametrize("control", ["no_such", "_camera", "close"])
def test_a_control_that_the_camera_has_not_is_named_and_the_camera_given_back(camera, control) -> None:
    with pytest.raises(SourceError, match=f"PiCamera has no `{control}`"):
        camera.open((640, 480), **{control: 1})
    assert camera.close.call_count == 1


def test_a_camera_that_is_not_there_is_absent(camera: Camera) -> None:
    from picamera.exc import PiCameraError

    camera.init.side_effect = PiCameraError("Camera is not enabled. Try running 'raspi-config'")
    with pytest.raises(SourceAbsent, match="camera 1: Camera is not enabled"):
        camera.open((640, 480))


def test_an_idle_camera_is_asked_when_a_frame_is_wanted(camera: Camera) -> None:
    source = camera.open((32, 16))
    wanted = time.monotonic() + 0.1
    frame = source.capture(wanted)
    assert frame and frame.captured >= wanted
    source.interrupt()
    assert source.capture(time.monotonic() + 3600) is None
