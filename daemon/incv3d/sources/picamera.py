"""Cameras of 32-bit Raspberry Pi OS with the legacy stack (MMAL), with picamera."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator, Mapping

from picamera import PiCamera
from picamera.exc import PiCameraError

from incv3d.config.schema import ControlValue
from incv3d.frames import Frame
from incv3d.sources.base import CameraInfo, SourceAbsent, SourceError
from incv3d.sources.pixel_formats import without_padding

LOG = logging.getLogger(__name__)


def padded(width: int, height: int) -> tuple[int, int]:
    """The size of the raw picture that the camera gives: widths in steps of 32, heights of 16."""
    return -(-width // 32) * 32, -(-height // 16) * 16


def list_cameras() -> Iterator[CameraInfo]:
    """The legacy camera, if there is one that nobody uses: asking means opening it."""
    try:
        with PiCamera() as camera:
            name = camera.revision
    except (PiCameraError, OSError) as error:
        LOG.info("picamera: %s", error)
    else:
        yield CameraInfo("picamera", name, "0", {}, "source: {type: picamera}")


class PicameraSource:
    """Captures from the video port of a legacy camera.

    :param camera: its number.
    :param size: width and height.
    :param fps: frames a second.
    :param transform: ``hflip``, ``vflip`` or ``rotate180``; others are not for the camera to do.
    :param controls: attributes of ``PiCamera``, ``{"exposure_mode": "night"}``.
    :raises SourceAbsent: when there is no such camera.
    :raises SourceError: when it cannot be set up so.
    """

    lost_frames = 0
    idle_until = 0.0

    def __init__(
        self,
        name: str,
        camera: int,
        size: tuple[int, int],
        fps: float,
        transform: str,
        controls: Mapping[str, ControlValue],
    ) -> None:
        self._name = name
        self._width, self._height = size
        self._interrupted = threading.Event()
        try:
            self._camera = PiCamera(camera_num=camera, resolution=size, framerate=fps)
        except (PiCameraError, OSError) as error:
            raise SourceAbsent(f"camera {camera}: {error}") from error
        try:
            self._camera.hflip = transform in ("hflip", "rotate180")
            self._camera.vflip = transform in ("vflip", "rotate180")
            for control, value in controls.items():
                self._set_control(control, value)
        except Exception:
            self.close()
            raise
        self._buffer = io.BytesIO()
        self._pictures: Iterator[io.BytesIO] = self._camera.capture_continuous(
            self._buffer, format="rgb", use_video_port=True
        )

    def _set_control(self, name: str, value: ControlValue) -> None:
        if name.startswith("_") or not isinstance(getattr(PiCamera, name, None), property):
            raise SourceError(f"source.controls: PiCamera has no `{name}`")
        try:
            setattr(self._camera, name, value)
        except (PiCameraError, ValueError, TypeError, AttributeError) as error:
            raise SourceError(f"source.controls: {name}: {error}") from None

    def capture(self, after: float) -> Frame | None:
        """The next frame. The video port gives no time: it is that at which its capture was begun."""
        if self._interrupted.wait(max(0.0, after - time.monotonic())):
            return None
        asked = time.monotonic()
        self._buffer.seek(0)
        self._buffer.truncate()
        try:
            if next(self._pictures, None) is None:
                raise SourceError("the camera gives no more pictures")
        except PiCameraError as error:
            raise SourceError(f"the camera failed: {error}") from error
        if self._interrupted.is_set():
            return None
        row_pixels, rows = padded(self._width, self._height)
        with self._buffer.getbuffer() as data:
            if len(data) != row_pixels * rows * 3:
                raise SourceError(f"the camera gave {len(data)} bytes for {row_pixels}x{rows} pixels")
            pixels = without_padding(data, self._height, self._width * 3, row_pixels * 3)
        return Frame(
            self._name,
            pixels,
            "rgb24",
            received=time.monotonic(),
            captured=asked,
            width=self._width,
            height=self._height,
        )

    def interrupt(self) -> None:
        """Let the capture return after the picture that it waits for."""
        self._interrupted.set()

    def close(self) -> None:
        """Give the camera back."""
        self._camera.close()
