"""Source type ``video``: video files and network streams (RTSP, HTTP)."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from incv3d.config.source import SourceSection
from incv3d.errors import pip_install
from incv3d.sources.backend import Library, SourceBackend
from incv3d.sources.base import FrameSource, OpenSource
from incv3d.sources.local_paths import check_local_path

if TYPE_CHECKING:
    from incv3d.sources.http_camera import HttpBody

WEB_SCHEMES = ("http", "https")
PYAV = Library("av", pip_install("av"), used_by="incv3d.sources.video_capture")


def _opener(section: SourceSection) -> OpenSource:
    return partial(_open_web if section.path.scheme in WEB_SCHEMES else _open_with_ffmpeg, section)


def _needs_library(section: SourceSection) -> bool:
    # Cameras that send JPEGs over HTTP need no library. Whether FFmpeg is needed shows in the response.
    return section.path.scheme not in WEB_SCHEMES


def _check(section: SourceSection) -> None:
    if section.path.is_path:
        check_local_path(section, section.path.reveal())


def _open_web(section: SourceSection) -> FrameSource:
    from incv3d.sources.http_camera import POLL_S, HttpBody, open_http_camera

    interval_s = 0.0 if section.frame_interval_s else 1 / section.fps if section.fps else POLL_S
    camera = open_http_camera(section.name, section.path, section.stall_timeout_s, interval_s)
    if not isinstance(camera, HttpBody):
        return camera
    with contextlib.ExitStack() as stack:
        stack.callback(camera.close)
        PYAV.check()
        if camera.is_live:
            source = _open_with_ffmpeg(section, camera)
            stack.pop_all()  # the source closes it
            return source
    return _open_with_ffmpeg(section)


def _open_with_ffmpeg(section: SourceSection, body: HttpBody | None = None) -> FrameSource:
    PYAV.load()
    from incv3d.sources.video_capture import open_video

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
        frame_interval_s=section.frame_interval_s,
    )


VIDEO = SourceBackend(opener=_opener, library=PYAV, needs_library=_needs_library, check=_check)
