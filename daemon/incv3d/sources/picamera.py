"""Source type ``picamera``: CSI cameras of 32-bit Raspberry Pi OS with the legacy camera stack (MMAL)."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial

from incv3d.config.source import ControlValue, SourceSection
from incv3d.frames import Frame
from incv3d.sources.backend import Library, SourceBackend
from incv3d.sources.base import CameraInfo, FrameSource, OpenSource, SourceAbsent, SourceError
from incv3d.sources.csi import CSI_FIX, FLIPS, idle_fps, index_absence
from incv3d.sources.pixel_formats import strip_padding

LOG = logging.getLogger(__name__)


def _camera_error() -> type[Exception]:
    from picamera.exc import PiCameraError

    return PiCameraError  # type: ignore[no-any-return]


def padded(width: int, height: int) -> tuple[int, int]:
    """Return the size of the raw image, which is padded to multiples of 32 and 16 pixels."""
    return -(-width // 32) * 32, -(-height // 16) * 16


def list_cameras() -> Iterator[CameraInfo]:
    """Yield the legacy camera, if there is one and no program uses it: looking for it means opening it."""
    from picamera import PiCamera

    try:
        with PiCamera() as camera:
            name = camera.revision
    except (_camera_error(), OSError) as error:
        LOG.info("picamera: %s", error)
    else:
        yield CameraInfo("picamera", name, "0", {}, "source: {type: picamera}")


class PicameraSource:
    """Captures from the video port of a legacy camera.

    :param camera: its number.
    :param size: width and height.
    :param fps: frames per second.
    :param transform: ``hflip``, ``vflip`` and ``rotate180`` are applied, others ignored.
    :param controls: attributes of ``PiCamera``, ``{"exposure_mode": "night"}``.
    :raises SourceAbsent: there is no such camera.
    :raises SourceError: it cannot be configured.
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
        from picamera import PiCamera

        self._name = name
        self._width, self._height = size
        self._interrupted = threading.Event()
        try:
            self._camera = PiCamera(camera_num=camera, resolution=size, framerate=fps)
        except (_camera_error(), OSError) as error:
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
        self._images: Iterator[io.BytesIO] = self._camera.capture_continuous(
            self._buffer, format="rgb", use_video_port=True
        )

    def _set_control(self, name: str, value: ControlValue) -> None:
        if name.startswith("_") or not isinstance(getattr(type(self._camera), name, None), property):
            raise SourceError(f"source.controls: PiCamera has no `{name}`")
        try:
            setattr(self._camera, name, value)
        except (_camera_error(), ValueError, TypeError, AttributeError) as error:
            raise SourceError(f"source.controls: {name}: {error}") from None

    def capture(self, after: float) -> Frame | None:
        """Return the next frame. The video port gives no time; the capture time is when it was requested."""
        if self._interrupted.wait(max(0.0, after - time.monotonic())):
            return None
        asked = time.monotonic()
        self._buffer.seek(0)
        self._buffer.truncate()
        try:
            if next(self._images, None) is None:
                raise SourceError("the camera sends no more images")
        except _camera_error() as error:
            raise SourceError(f"the camera failed: {error}") from error
        if self._interrupted.is_set():
            return None
        row_pixels, rows = padded(self._width, self._height)
        with self._buffer.getbuffer() as data:
            if len(data) != row_pixels * rows * 3:
                raise SourceError(f"the camera sent {len(data)} bytes for {row_pixels}x{rows} pixels")
            pixels = strip_padding(data, self._height, self._width * 3, row_pixels * 3)
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
        """Make a capture return after the image that it waits for."""
        self._interrupted.set()

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()


def _opener(section: SourceSection) -> OpenSource:
    return partial(_open, section)


def _open(section: SourceSection) -> FrameSource:
    return PicameraSource(
        section.name,
        section.camera,
        (section.width, section.height),
        section.fps or idle_fps(section),
        section.transform,
        section.controls,
    )


PICAMERA = SourceBackend(
    opener=_opener,
    library=Library(
        "picamera",
        "sudo apt-get install python3-picamera (32-bit Raspberry Pi OS with the legacy camera stack)",
    ),
    # picamera also rotates by 90 degrees, but keeps the requested size and so crops most of the image.
    transforms=FLIPS,
    list_cameras=list_cameras,
    device_nodes=("vchiq",),
    absence=index_absence,
    absence_fix=CSI_FIX,
)
