"""Source type ``v4l2``: USB and CSI cameras through the kernel's Video4Linux, ``/dev/video*``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from incv3d.config.source import SourceSection
from incv3d.errors import pip_install
from incv3d.sources.backend import Library, SourceBackend
from incv3d.sources.base import CameraInfo, FrameSource, OpenSource


def _opener(section: SourceSection) -> OpenSource:
    return partial(_open, section)


def _open(section: SourceSection) -> FrameSource:
    from incv3d.sources.v4l2_capture import V4l2Source, find_device

    return V4l2Source(
        section.name,
        find_device(section.path.reveal()),
        (section.width, section.height),
        section.fps,
        section.controls,
    )


def _list_cameras() -> Iterator[CameraInfo]:
    from incv3d.sources.v4l2_capture import list_cameras

    return list_cameras()


def _absence(section: SourceSection, found: int) -> str:
    if not section.path:
        return "" if found else "no V4L2 camera was found"
    path = Path(section.path.reveal())
    try:
        is_device = stat.S_ISCHR(path.stat().st_mode)
    except OSError as error:
        return f"source.path: {path}: {os.strerror(error.errno or 0)}"
    return "" if is_device else f"source.path: {path} is not a device"


V4L2 = SourceBackend(
    opener=_opener,
    library=Library("linuxpy.video.device", pip_install("linuxpy"), used_by="incv3d.sources.v4l2_capture"),
    list_cameras=_list_cameras,
    device_nodes=("video[0-9]*",),
    absence=_absence,
    absence_fix="check the camera's cable; `incv3d cameras` lists the cameras that are there",
)
