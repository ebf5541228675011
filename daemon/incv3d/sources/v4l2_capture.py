"""Capture from Video4Linux devices with linuxpy."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from linuxpy.video.device import (
    BufferFlag,
    BufferType,
    Capability,
    Device,
    FrameSizeType,
    PixelFormat,
    V4L2Error,
    VideoCapture,
    get_raw_format,
)
from linuxpy.video.device import Frame as V4l2Frame

from incv3d.config.source import ControlValue
from incv3d.frames import CHANNELS, Colours, Encoding, Frame, YuvEncoding, is_yuv
from incv3d.images import yuv
from incv3d.sources.base import CameraInfo, SourceAbsent, SourceError
from incv3d.sources.pixel_formats import planes_without_padding
from incv3d.sources.v4l2_colours import colours_of

LOG = logging.getLogger(__name__)
DEV = Path("/dev")
FORMATS = (
    PixelFormat.MJPEG,
    PixelFormat.JPEG,
    PixelFormat.YUYV,
    PixelFormat.UYVY,
    PixelFormat.YVYU,
    PixelFormat.VYUY,
    PixelFormat.NV12,
    PixelFormat.NV21,
    PixelFormat.YUV420,
    PixelFormat.YVU420,
    PixelFormat.RGB24,
    PixelFormat.BGR24,
    PixelFormat.GREY,
)
"""The usable formats, best first: a JPEG is decoded at the size that the model needs."""
RAW: dict[PixelFormat, Encoding | YuvEncoding] = {
    PixelFormat.YUYV: "yuyv",
    PixelFormat.UYVY: "uyvy",
    PixelFormat.YVYU: "yvyu",
    PixelFormat.VYUY: "vyuy",
    PixelFormat.NV12: "nv12",
    PixelFormat.NV21: "nv21",
    PixelFormat.YUV420: "yu12",
    PixelFormat.YVU420: "yv12",
    PixelFormat.RGB24: "rgb24",
    PixelFormat.BGR24: "bgr24",
    PixelFormat.GREY: "gray8",
}
"""Formats of raw pixels. They are passed on unchanged; the decoding thread converts what is used."""
NO_CAMERAS = {"bcm2835-codec", "bcm2835-isp", "rpivid", "rpi-hevc-dec", "pispbe", "rp1-cfe", "unicam"}
"""Drivers of a Pi's codecs, and of its raw sensors, whose output only libcamera can process."""
BUFFERS = 4
WAKE_S = 0.5
"""The longest time until an interrupted capture returns."""


def video_devices(dev: Path = DEV) -> list[Path]:
    """Return the ``/dev/videoN`` that this user may open, ordered by number."""
    found = [
        path for path in dev.glob("video*") if path.name[5:].isdigit() and os.access(path, os.R_OK | os.W_OK)
    ]
    return sorted(found, key=lambda path: int(path.name[5:]))


def stable_names(cameras: Mapping[Path, str], dev: Path = DEV) -> dict[Path, Path]:
    """Return for each device the name that survives reboots, or the device itself if it has none.

    That is its link in ``/dev/v4l/by-id``. Cameras of one model without serial numbers share one such
    link, which may point to another of them after the next boot: they go by the port, in ``by-path``.

    :param cameras: the device of each camera, and what the camera calls itself.
    """
    shared = {card for device, card in cameras.items() if not _link(dev / "v4l/by-id", device)}
    return {
        device: (_link(dev / "v4l/by-id", device) if card not in shared else None)
        or _link(dev / "v4l/by-path", device)
        or device
        for device, card in cameras.items()
    }


def _link(folder: Path, device: Path) -> Path | None:
    return next((link for link in sorted(folder.glob("*")) if link.resolve() == device.resolve()), None)


def find_device(path: str, dev: Path = DEV) -> Path:
    """Return the configured device.

    :param path: empty: the first device that is a camera.
    :raises SourceAbsent: it is not there.
    :raises SourceError: this user may not open it.
    """
    if not path:
        camera = next((each for each in video_devices(dev) if is_camera(each)), None)
        if camera:
            return camera
        raise SourceAbsent(f"no camera in {dev}/video*{_forbidden(dev)}")
    device = Path(path)
    if not device.exists():
        raise SourceAbsent(f"{path}: no such device; to list the cameras: incv3d cameras")
    if not device.is_char_device():
        raise SourceError(f"{path}: not a device")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{path}: permission denied; run: sudo usermod -aG video USER, and log in again")
    return device


def _forbidden(dev: Path) -> str:
    others = [path for path in dev.glob("video*") if not os.access(path, os.R_OK | os.W_OK)]
    return (
        f" that this user may open, but {len(others)} more for members of the group video" if others else ""
    )


def is_camera(path: Path) -> bool:
    """Return whether the device at `path` captures in a usable format."""
    try:
        with Device(path) as device:
            return bool(usable_formats(device))
    except (OSError, V4L2Error):
        return False


def usable_formats(device: Device) -> list[PixelFormat]:
    """Return the usable formats of an open `device`, best first; empty if it is not a camera."""
    info = device.info
    if Capability.VIDEO_CAPTURE not in info.device_capabilities or info.driver in NO_CAMERAS:
        return []
    offered = set(_offered(device))
    return [format_ for format_ in FORMATS if format_ in offered]


def _offered(device: Device) -> list[PixelFormat]:
    """Return the capture formats. ``info.formats`` fails for a driver that has overlay formats."""
    return [each.pixel_format for each in device.info.buffer_formats(BufferType.VIDEO_CAPTURE)]


def sizes(device: Device, format_: PixelFormat) -> list[tuple[int, int]]:
    """Return the sizes that an open `device` offers in `format_`, ascending; empty: any within limits."""
    found = device.info.format_frame_sizes(format_)
    discrete = {(size.info.width, size.info.height) for size in found if size.type == FrameSizeType.DISCRETE}
    return sorted(discrete, key=lambda size: size[0] * size[1])


def choose_size(offered: list[tuple[int, int]], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest of `offered` that covers `wanted`, else the largest; `wanted` if there is none."""
    covering = [size for size in offered if size[0] >= wanted[0] and size[1] >= wanted[1]]
    return (covering or offered[-1:] or [wanted])[0]


def time_of(taken: V4l2Frame, now: float) -> float:
    """Return when a frame was captured (monotonic): the driver's timestamp, if it uses the same clock."""
    return min(taken.timestamp, now) if BufferFlag.TIMESTAMP_MONOTONIC in taken.flags else now


def content_of(taken: V4l2Frame) -> tuple[Encoding | YuvEncoding, bytes] | None:
    """Return the encoding and the bytes of a frame; None if it is damaged or truncated."""
    if BufferFlag.ERROR in taken.flags or not taken.nbytes:
        return None
    encoding = RAW.get(taken.pixel_format)
    if encoding is None:
        return "jpeg", bytes(taken.data)
    planes = [(taken.height, taken.width * CHANNELS.get(encoding, 0))]
    if is_yuv(encoding):
        planes = yuv.planes(encoding, taken.width, taken.height)
    try:
        data = planes_without_padding(taken.data, planes, taken.format.bytes_per_line or planes[0][1])
    except ValueError:
        return None
    return encoding, data


class V4l2Source:
    """Captures from the V4L2 device at `path`.

    :param size: the width and height that suffice.
    :param fps: the frame rate to request; 0: the driver's choice.
    :param controls: by the driver's names, ``{"brightness": 10}``.
    :raises SourceAbsent: the device is gone.
    :raises SourceError: it cannot be used, or is in use.
    """

    idle_until = 0.0

    def __init__(
        self,
        name: str,
        path: Path,
        size: tuple[int, int],
        fps: float,
        controls: Mapping[str, ControlValue],
    ) -> None:
        logging.getLogger("linuxpy").setLevel(logging.WARNING)
        self.lost_frames = 0
        self._name = name
        self._path = path
        self._interrupted = threading.Event()
        self._sequence: int | None = None
        self._colours: Colours = "bt601"
        self._device = Device(path)
        self._capture = VideoCapture(self._device, size=BUFFERS)
        try:
            self._start(size, fps, controls)
        except Exception as error:
            self.close()
            if isinstance(error, OSError | V4L2Error):
                raise self._explain(error) from error
            raise

    def _start(self, size: tuple[int, int], fps: float, controls: Mapping[str, ControlValue]) -> None:
        self._device.open()
        formats = usable_formats(self._device)
        if not formats:
            offered = ", ".join(each.human_str() for each in _offered(self._device))
            raise SourceError(f"{self._path}: no usable pixel format ({offered or 'it offers none'})")
        width, height = choose_size(sizes(self._device, formats[0]), size)
        self._capture.set_format(width, height, formats[0])
        if RAW.get(formats[0]):
            said = get_raw_format(self._device, BufferType.VIDEO_CAPTURE).fmt.pix
            self._colours = colours_of(said.colorspace, said.m1.ycbcr_enc, said.quantization)
        if fps:
            try:
                self._capture.set_fps(fps)
            except OSError as error:
                # Not every driver lets one choose a rate.
                LOG.info("%s: the frame rate cannot be set: %s", self._path, error.strerror)
        for control, value in controls.items():
            self._set_control(control, value)
        self._capture.open()

    def _set_control(self, name: str, value: ControlValue) -> None:
        control = next((each for each in self._device.controls.values() if each.config_name == name), None)
        if control is None:
            names = ", ".join(sorted(each.config_name for each in self._device.controls.values()))
            raise SourceError(f"source.controls: {self._path} has no `{name}`; it has {names}")
        try:
            control.value = value
        except (AttributeError, ValueError, OSError) as error:
            raise SourceError(f"source.controls: {name}: {error}") from None

    def capture(self, after: float) -> Frame | None:
        """Return the driver's next frame, with the driver's timestamp.

        While no frame is needed, the driver's buffers fill and it drops frames, which wakes no process.
        """
        if self._interrupted.wait(max(0.0, after - time.monotonic())):
            return None
        while not self._interrupted.is_set():
            try:
                taken = self._capture.buffer.frame_reader.read(WAKE_S)
            except OSError as error:
                raise self._explain(error) from None
            frame = self._frame(taken, after) if taken else None
            if frame:
                return frame
        return None

    def _frame(self, taken: V4l2Frame, after: float) -> Frame | None:
        """Return None for a frame from before `after`, and for a damaged one, which counts as lost."""
        now = time.monotonic()
        captured = time_of(taken, now)
        if captured < after:
            self._sequence = None  # what the driver drops while it idles is not lost
            return None
        if self._sequence is not None:
            self.lost_frames += max(0, taken.frame_nb - self._sequence - 1)
        self._sequence = taken.frame_nb
        content = content_of(taken)
        if content is None:
            self.lost_frames += 1
            return None
        encoding, data = content
        width, height = (0, 0) if encoding == "jpeg" else (taken.width, taken.height)
        return Frame(
            self._name,
            data,
            encoding,
            now,
            captured,
            width,
            height,
            id=taken.frame_nb,
            colours=self._colours,
        )

    def _explain(self, error: Exception) -> SourceError:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENODEV, errno.ENOENT, errno.ENXIO):
            return SourceAbsent(f"{self._path}: the device is gone")
        if number == errno.EBUSY:
            return SourceError(f"{self._path}: in use by another program (fuser {self._path} names it)")
        return SourceError(f"{self._path}: {getattr(error, 'strerror', None) or error}")

    def interrupt(self) -> None:
        """Make a blocked capture return within half a second."""
        self._interrupted.set()

    def close(self) -> None:
        """Stop the stream, release the driver's buffers and close the device, as far as each is still there.

        A mapped buffer keeps the device open, so that a camera that is unplugged and plugged in again would
        get another name.
        """
        capture = self._capture
        for close in (*((capture.stream_off, capture.disarm) if capture.buffer else ()), self._device.close):
            try:
                close()
            except (OSError, V4L2Error, ValueError) as error:
                LOG.debug("closing %s: %s", self._path, error)


def list_cameras(dev: Path = DEV) -> Iterator[CameraInfo]:
    """Yield every V4L2 camera that this user may open."""
    logging.getLogger("linuxpy").setLevel(logging.WARNING)
    found = {}
    for path in video_devices(dev):
        try:
            with Device(path) as device:
                formats = {each.human_str(): sizes(device, each) for each in usable_formats(device)}
                if formats:
                    found[path] = device.info.card, formats
        except (OSError, V4L2Error) as error:
            LOG.info("%s: %s", path, error)
    names = stable_names({path: card for path, (card, _) in found.items()}, dev)
    for path, (card, formats) in found.items():
        yield CameraInfo("v4l2", card, str(path), formats, f"source: {{type: v4l2, path: {names[path]}}}")
