"""Cameras of today's Raspberry Pi OS, through libcamera, with picamera2."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from libcamera import Transform
from picamera2 import Picamera2

from incv3d.config.schema import ControlValue
from incv3d.frames import Frame
from incv3d.sources.base import CameraInfo, SourceAbsent, SourceError

WAKE_S = 0.5
"""How long an interrupted capture may sleep on."""
BUFFERS = 4


def csi_cameras() -> list[dict[str, Any]]:
    """What libcamera finds, in the order of its index: ``Model``, ``Id`` and more of each camera.

    Without USB cameras, which come last there and give it no RGB: those are read through V4L2.
    """
    return [dict(found) for found in Picamera2.global_camera_info() if "/usb" not in found["Id"]]


def list_cameras() -> Iterator[CameraInfo]:
    """Every CSI camera. Their sizes are not listed: the camera's processor scales to any."""
    for index, found in enumerate(csi_cameras()):
        configuration = f"source: {{type: picamera2, camera: {index}}}"
        yield CameraInfo("picamera2", found.get("Model", ""), str(index), {}, configuration)


class Picamera2Source:
    """Captures from a camera that libcamera knows, at a size to which the camera's own processor scales.

    :param camera: its index.
    :param size: width and height.
    :param fps: frames a second.
    :param transform: ``hflip``, ``vflip`` or ``rotate180``; others are not for the camera to do.
    :param controls: by libcamera's names, ``{"ExposureTime": 10000}``.
    :raises SourceAbsent: when there is no such camera.
    :raises SourceError: when it cannot be opened or set up so.
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
        logging.getLogger("picamera2").setLevel(logging.WARNING)
        self._name = name
        self._interrupted = threading.Event()
        found = len(csi_cameras())
        if camera >= found:
            raise SourceAbsent(f"no camera {camera}: libcamera finds {found} (USB cameras are of type v4l2)")
        try:
            self._camera = Picamera2(camera)
        except RuntimeError as error:
            raise SourceError(f"camera {camera}: {error} (is another program using it?)") from error
        try:
            self._start(size, fps, transform, controls)
        except RuntimeError as error:
            self.close()
            raise SourceError(f"camera {camera}: {error}") from error
        except Exception:
            self.close()
            raise

    def _start(
        self, size: tuple[int, int], fps: float, transform: str, controls: Mapping[str, ControlValue]
    ) -> None:
        camera = self._camera
        flips = Transform(
            hflip=int(transform in ("hflip", "rotate180")), vflip=int(transform in ("vflip", "rotate180"))
        )
        # Small pictures make libcamera choose a sensor mode that is a cut-out of the field of view; at half
        # its pixels every sensor of the Raspberry Pi sees the whole of it.
        pixels = camera.camera_properties.get("PixelArraySize")
        sensor = {"output_size": (pixels[0] // 2, pixels[1] // 2)} if pixels else {}
        wanted = {key: tuple(value) if isinstance(value, list) else value for key, value in controls.items()}
        configuration = camera.create_video_configuration(
            main={"size": size, "format": "RGB888"},
            raw=None,
            transform=flips,
            buffer_count=BUFFERS,
            queue=False,  # a frame that arrives after it was asked for
            sensor=sensor,
        )
        camera.configure(configuration)
        limits = {"FrameRate": fps} if "FrameDurationLimits" in camera.camera_controls else {}
        camera.set_controls({**limits, **wanted})
        camera.start()

    def capture(self, after: float) -> Frame | None:
        """The next frame; its time is the sensor's."""
        if self._interrupted.wait(max(0.0, after - time.monotonic())):
            return None
        while not self._interrupted.is_set():
            job = self._camera.capture_request(wait=False)
            request = self._result(job)
            if request is None:
                # The job stays behind and may take a buffer with it: the caller closes the camera.
                return None
            try:
                pixels = request.make_array("main")  # a copy without padding
                metadata = request.get_metadata()
            finally:
                request.release()
            now = time.monotonic()
            captured = sensor_time(metadata, now)
            if captured >= after:
                height, width = pixels.shape[:2]
                # "RGB888" is libcamera's name for B, G, R in memory (picamera2 manual, appendix A).
                return Frame(
                    self._name,
                    pixels.data.cast("B"),
                    "bgr24",
                    received=now,
                    captured=captured,
                    width=width,
                    height=height,
                )
        return None

    def _result(self, job: Any) -> Any:
        while not self._interrupted.is_set():
            try:
                return job.get_result(timeout=WAKE_S)
            except concurrent.futures.TimeoutError:
                continue
        return None

    def interrupt(self) -> None:
        """Let a capture return within half a second."""
        self._interrupted.set()

    def close(self) -> None:
        """Stop the camera and give it back."""
        self._camera.close()


def sensor_time(metadata: Mapping[str, Any], now: float) -> float:
    """When a frame was exposed (monotonic), from ``SensorTimestamp``: nanoseconds of CLOCK_BOOTTIME."""
    stamp_ns = metadata.get("SensorTimestamp")
    if not stamp_ns:
        return now
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - stamp_ns / 1e9
    # A camera with a clock of its own has no time that means anything here.
    return now - age_s if 0 <= age_s < 60 else now
