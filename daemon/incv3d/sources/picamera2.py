"""Source type ``picamera2``: CSI cameras of current Raspberry Pi OS, through libcamera."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from incv3d.config.source import ControlValue, SourceSection
from incv3d.frames import Frame
from incv3d.sources.backend import Library, SourceBackend
from incv3d.sources.base import CameraInfo, FrameSource, OpenSource, SourceAbsent, SourceError
from incv3d.sources.csi import CSI_FIX, FLIPS, idle_fps, index_absence

WAKE_S = 0.5
"""The longest time until an interrupted capture returns."""
BUFFERS = 4


def csi_cameras() -> list[dict[str, Any]]:
    """Return what libcamera says of each CSI camera, ``Model`` and ``Id`` among it, ordered by index.

    USB cameras are left out: libcamera lists them last and gets no RGB from them. Type ``v4l2`` reads them.
    """
    from picamera2 import Picamera2

    return [dict(found) for found in Picamera2.global_camera_info() if "/usb" not in found["Id"]]


def list_cameras() -> Iterator[CameraInfo]:
    """Yield every CSI camera, without sizes: the camera's processor scales to any size."""
    for index, found in enumerate(csi_cameras()):
        configuration = f"source: {{type: picamera2, camera: {index}}}"
        yield CameraInfo("picamera2", found.get("Model", ""), str(index), {}, configuration)


class Picamera2Source:
    """Captures from a CSI camera; the camera's own processor scales its frames.

    :param camera: its index.
    :param size: width and height.
    :param fps: frames per second.
    :param transform: ``hflip``, ``vflip`` and ``rotate180`` are applied, others ignored.
    :param controls: by libcamera's names, ``{"ExposureTime": 10000}``.
    :raises SourceAbsent: there is no such camera.
    :raises SourceError: it cannot be opened or configured.
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
        from picamera2 import Picamera2

        logging.getLogger("picamera2").setLevel(logging.WARNING)
        self._name = name
        self._interrupted = threading.Event()
        found = len(csi_cameras())
        if camera >= found:
            raise SourceAbsent(f"no camera {camera}: libcamera found {found} (USB cameras need type v4l2)")
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
        from libcamera import Transform

        camera = self._camera
        flips = Transform(
            hflip=int(transform in ("hflip", "rotate180")), vflip=int(transform in ("vflip", "rotate180"))
        )
        # For small images libcamera chooses a sensor mode that crops the field of view. At half the
        # sensor's resolution, every Raspberry Pi camera has a mode with the full field of view.
        pixels = camera.camera_properties.get("PixelArraySize")
        sensor = {"output_size": (pixels[0] // 2, pixels[1] // 2)} if pixels else {}
        wanted = {key: tuple(value) if isinstance(value, list) else value for key, value in controls.items()}
        configuration = camera.create_video_configuration(
            main={"size": size, "format": "RGB888"},
            raw=None,
            transform=flips,
            buffer_count=BUFFERS,
            queue=False,  # deliver frames exposed after the request, not a queued one
            sensor=sensor,
        )
        camera.configure(configuration)
        limits = {"FrameRate": fps} if "FrameDurationLimits" in camera.camera_controls else {}
        camera.set_controls({**limits, **wanted})
        camera.start()

    def capture(self, after: float) -> Frame | None:
        """Return the next frame; its capture time is the sensor's."""
        if self._interrupted.wait(max(0.0, after - time.monotonic())):
            return None
        while not self._interrupted.is_set():
            job = self._camera.capture_request(wait=False)
            request = self._result(job)
            if request is None:
                # The job stays pending and may hold a buffer, so the caller must close the camera.
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
        """Make a blocked capture return within half a second."""
        self._interrupted.set()

    def close(self) -> None:
        """Stop and release the camera."""
        self._camera.close()


def sensor_time(metadata: Mapping[str, Any], now: float) -> float:
    """Return when a frame was exposed (monotonic), from ``SensorTimestamp``: nanoseconds of CLOCK_BOOTTIME.

    :returns: `now` if there is no usable timestamp.
    """
    stamp_ns = metadata.get("SensorTimestamp")
    if not stamp_ns:
        return now
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - stamp_ns / 1e9
    # Some cameras count by another clock, whose time means nothing here.
    return now - age_s if 0 <= age_s < 60 else now


def _opener(section: SourceSection) -> OpenSource:
    return partial(_open, section)


def _open(section: SourceSection) -> FrameSource:
    return Picamera2Source(
        section.name,
        section.camera,
        (section.width, section.height),
        section.fps or idle_fps(section),
        section.transform,
        section.controls,
    )


PICAMERA2 = SourceBackend(
    opener=_opener,
    library=Library(
        "picamera2",
        "sudo apt-get install python3-picamera2 (and a venv made with --system-site-packages)",
        # libcamera's own level logs a page at every start.
        environment={"LIBCAMERA_LOG_LEVELS": "*:WARN"},
    ),
    transforms=FLIPS,
    list_cameras=list_cameras,
    device_nodes=("video[0-9]*", "media[0-9]*", "dma_heap/*"),
    absence=index_absence,
    absence_fix=CSI_FIX,
)
