"""From the configuration to a source: which module, with what, and what if its library is not there."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from incv3d.config.schema import FPS_OF_IMAGES, SourceSection
from incv3d.config.source_types import CAMERAS
from incv3d.errors import pip_install
from incv3d.frames import Transform
from incv3d.sources.base import (
    CameraInfo,
    FrameSource,
    LibraryMissing,
    OpenSource,
    SourceAbsent,
    SourceError,
    SourceMisnamed,
)
from incv3d.sources.images import SUFFIXES
from incv3d.sources.redaction import redacted_opener
from incv3d.sources.transformed import TransformedSource

if TYPE_CHECKING:
    from incv3d.sources.http_camera import HttpBody

HOW_TO_INSTALL = {
    "picamera2": "sudo apt-get install python3-picamera2 (and a venv made with --system-site-packages)",
    "picamera": "sudo apt-get install python3-picamera (32-bit Raspberry Pi OS with the legacy camera stack)",
    "linuxpy": pip_install("linuxpy"),
    "av": pip_install("av"),
}
"""Libraries of the sources that are not part of incv3d, and what to type for each."""

LIBRARIES = {"picamera2": "picamera2", "picamera": "picamera", "v4l2": "linuxpy", "video": "av"}
"""The library of each type of source that needs one."""

WEB_SCHEMES = ("http", "https")
OTHERWISE = "a camera of this machine is `auto` or /dev/video0, an address begins with rtsp:// or http://"
COME_LATER = ("/dev/", "/media/", "/mnt/", "/net/", "/run/")
"""Below these, what is not there yet is waited for."""
TURNED_BY_CAMERA: dict[str, tuple[Transform, ...]] = {
    "picamera2": ("hflip", "vflip", "rotate180"),
    "picamera": ("hflip", "vflip", "rotate180"),
}
"""What the camera does by itself, at no cost. picamera could rotate by 90 degrees too, but keeps the size
that was asked for, and so cuts off the greater part of what it sees."""


def source_opener(section: SourceSection) -> OpenSource | None:
    """What opens the source that the configuration names; None for ``type: none``.

    Nothing is opened yet, and nothing imported: a library that hangs or takes its time does so in the thread
    that captures.

    :raises LibraryMissing: when the library of that type is not installed.
    :raises SourceMisnamed: when it is a path that is not there and is not waited for.
    """
    if section.type == "none":
        return None
    if section.type == "auto":
        return lambda: open_first(section)
    check_source(section)
    open_source: OpenSource = partial(_open, section.type, section)
    if section.type == "images" and section.watch:
        open_source = _folder(section)
    return redacted_opener(open_source, [section.path, *section.addresses])


def check_source(section: SourceSection) -> None:
    """Check what the source needs, without opening it.

    :raises LibraryMissing: the library of its type is not installed.
    :raises SourceMisnamed: its path is not there, and is not one that is waited for.
    """
    # Cameras that send JPEGs over HTTP need no library; for others it is looked for when they have answered.
    is_web = section.type == "video" and section.path.scheme in WEB_SCHEMES
    if section.type in LIBRARIES and not is_web:
        check_library(LIBRARIES[section.type])
    check_path(section)


def check_library(name: str) -> None:
    """Raise :class:`LibraryMissing` unless the library `name` is installed."""
    if importlib.util.find_spec(name) is None:
        raise LibraryMissing(f"the Python library {name} is missing: {HOW_TO_INSTALL[name]}")


def check_path(section: SourceSection) -> None:
    """Raise :class:`SourceMisnamed` if the source's path is not there and not one that is waited for.

    Disks and shares can be plugged in, or mounted, after the start; devices and servers can come at any time.
    """
    if section.type not in ("images", "video") or not section.path.is_path:
        return
    named = section.path.reveal().removeprefix("file://")
    if section.watch and Path(named).suffix.lower() in SUFFIXES:
        named = str(Path(named).parent)  # the picture may still be to come
    while glob.has_magic(named):
        named = str(Path(named).parent)
    if not named.startswith(COME_LATER) and not Path(named).exists():
        raise SourceMisnamed(
            f"{section.path}: no such file or folder; an address begins with rtsp:// or http://"
        )


def open_first(section: SourceSection) -> FrameSource:
    """The first camera of :data:`CAMERAS` that is there.

    :raises SourceAbsent: when there is none, with what each of them says.
    """
    said = []
    for kind in CAMERAS:
        try:
            check_library(LIBRARIES[kind])
            return _open(kind, section)
        except LibraryMissing:
            said.append(f"{kind}: its library is not there")
        except SourceAbsent as error:
            said.append(f"{kind}: {error}")
    raise SourceAbsent(
        f"no camera found, frames come over ZeroMQ only ({'; '.join(said)}); `incv3d cameras` says more"
    )


def _open(kind: str, section: SourceSection) -> FrameSource:
    return _turned(kind, section, _OPENERS[kind](section))


def _turned(kind: str, section: SourceSection, source: FrameSource) -> FrameSource:
    if section.transform == "none" or section.transform in TURNED_BY_CAMERA.get(kind, ()):
        return source
    return TransformedSource(source, section.transform)


def list_cameras() -> tuple[list[CameraInfo], list[str]]:
    """The cameras of this machine, and for each type that cannot be looked for, why."""
    found: list[CameraInfo] = []
    notes: list[str] = []
    for kind in CAMERAS:
        try:
            check_library(LIBRARIES[kind])
            with _importing(LIBRARIES[kind]):
                module = importlib.import_module(f"incv3d.sources.{kind}")
            found += module.list_cameras()
        except LibraryMissing as error:
            notes.append(f"{kind}: {error}")
    return found, notes


def _picamera2(section: SourceSection) -> FrameSource:
    with _importing("picamera2"):
        from incv3d.sources.picamera2 import Picamera2Source
    return Picamera2Source(
        section.name,
        section.camera,
        (section.width, section.height),
        section.fps or _idle_fps(section),
        section.transform,
        section.controls,
    )


def _picamera(section: SourceSection) -> FrameSource:
    with _importing("picamera"):
        from incv3d.sources.picamera import PicameraSource
    return PicameraSource(
        section.name,
        section.camera,
        (section.width, section.height),
        section.fps or _idle_fps(section),
        section.transform,
        section.controls,
    )


def _v4l2(section: SourceSection) -> FrameSource:
    with _importing("linuxpy"):
        from incv3d.sources.v4l2 import V4l2Source, find_device
    return V4l2Source(
        section.name,
        find_device(section.path.reveal()),
        (section.width, section.height),
        section.fps,
        section.controls,
    )


def _video(section: SourceSection) -> FrameSource:
    if section.path.scheme not in WEB_SCHEMES:
        return _ffmpeg(section)
    from incv3d.sources.http_camera import POLL_S, HttpBody, open_http_camera

    interval_s = 0.0 if section.gap_s else 1 / section.fps if section.fps else POLL_S
    camera = open_http_camera(section.name, section.path, section.stall_timeout_s, interval_s)
    if not isinstance(camera, HttpBody):
        return camera
    try:
        check_library("av")
        if camera.is_live:
            return _ffmpeg(section, camera)
    except SourceError:
        camera.close()
        raise
    camera.close()
    return _ffmpeg(section)


def _ffmpeg(section: SourceSection, body: HttpBody | None = None) -> FrameSource:
    with _importing("av"):
        from incv3d.sources.video import open_video
    return open_video(
        section.name,
        section.path,
        (section.width, section.height),
        fps=section.fps,
        loop=section.loop,
        every_frame=section.every_frame,
        timeout_s=section.stall_timeout_s,
        rtsp_transport=section.rtsp_transport,
        body=body,
        gap_s=section.gap_s,
    )


def _images(section: SourceSection) -> FrameSource:
    from incv3d.sources.images import ImagesSource

    fps = section.fps or (0.0 if section.every_frame else FPS_OF_IMAGES)
    return ImagesSource(section.name, section.path.reveal(), fps, section.loop)


def _folder(section: SourceSection) -> OpenSource:
    """What opens a folder that is watched; each time it knows what was handed out before."""
    from incv3d.sources.folder import FolderSource, FolderState
    from incv3d.sources.folder_watch import FolderWatch

    watch = FolderState(FolderWatch(section.path.reveal()))
    return lambda: _turned("images", section, FolderSource(section.name, watch))


def _imagezmq(section: SourceSection) -> FrameSource:
    from incv3d.sources.imagezmq import ImagezmqSource

    return ImagezmqSource(section.name, section.addresses)


def _idle_fps(section: SourceSection) -> float:
    """A camera of which a frame is wanted now and then runs slowly: each of its frames costs time."""
    return 5.0 if section.gap_s >= 1 else 30.0


class _importing:
    """Turns whatever the import of a library raises into :class:`LibraryMissing`."""

    def __init__(self, library: str) -> None:
        self._library = library

    def __enter__(self) -> None:
        if self._library == "picamera2":
            # libcamera reads it when it is loaded; at its own level it writes a page for every start.
            os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:WARN")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, SourceError):
            return
        hint = ""
        if "numpy" in str(error):
            # Compiled against NumPy 1, as Debian 12 has it, and loaded beside NumPy 2.
            hint = f" (Debian's packages need NumPy 1: {pip_install('numpy<2')})"
        raise LibraryMissing(
            f"the Python library {self._library} cannot be loaded: {error}{hint}; "
            f"to install it: {HOW_TO_INSTALL[self._library]}"
        ) from error


_OPENERS: dict[str, Callable[[SourceSection], FrameSource]] = {
    "picamera2": _picamera2,
    "picamera": _picamera,
    "v4l2": _v4l2,
    "video": _video,
    "images": _images,
    "imagezmq": _imagezmq,
}
