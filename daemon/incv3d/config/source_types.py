"""The source types: their words, their keys, and which type a path or an address means.

A type has three places: its row here, ``sources/TYPE.py``, and ``backend_of`` in ``sources/factory.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Literal, assert_never, get_args

from incv3d.config.address import Address
from incv3d.config.checks import check_address, check_sender

OpenableType = Literal["picamera2", "picamera", "v4l2", "video", "images", "imagezmq"]
RtspTransport = Literal["auto", "tcp", "udp"]
"""How an RTSP camera sends its frames; ``auto``: over TCP, or UDP if it refuses TCP."""
SourceType = Literal["none", "auto", OpenableType]
VIDEO_SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mjpeg", ".h264"}
CAMERA_KEYS = ("width", "height", "controls", "fps")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTypeFacts:
    """What the configuration knows of a source type, to check its section."""

    keys: tuple[str, ...]
    """The keys of ``source`` that only some types read, and this one does."""
    path: Literal["none", "optional", "required"] = "none"
    path_is: str = ""
    """What ``path`` must be, for error messages."""
    opens: tuple[OpenableType, ...] = ()
    """The types that :func:`source_of` may read from a path which this type can open."""
    addresses: bool = False
    """Whether the type reads ``addresses`` instead of ``path``."""
    is_camera: bool = False
    """Whether ``auto`` tries the type."""
    default_fps: float = 0.0
    """The frame rate if ``fps`` is 0; 0.0: set by the device, the file or the sender."""
    synonyms: tuple[str, ...] = ()
    """Words that people write for the type."""


@cache
def facts_of(kind: OpenableType) -> SourceTypeFacts:
    """Return what the configuration knows of a source type."""
    match kind:
        case "picamera2":
            return SourceTypeFacts(
                keys=("camera", *CAMERA_KEYS), is_camera=True, synonyms=("picam", "libcamera", "csi", "pi")
            )
        case "picamera":
            return SourceTypeFacts(keys=("camera", *CAMERA_KEYS), is_camera=True)
        case "v4l2":
            return SourceTypeFacts(
                keys=CAMERA_KEYS,
                path="optional",
                path_is="a device such as /dev/video0",
                opens=("v4l2", "images"),
                is_camera=True,
                synonyms=("webcam", "usb", "device", "camera"),
            )
        case "video":
            return SourceTypeFacts(
                keys=("width", "height", "fps", "loop", "rtsp_transport"),
                path="required",
                path_is="a video file, or an address such as rtsp://10.0.0.5/stream",
                opens=("video", "images"),
                synonyms=("rtsp", "http", "https", "ffmpeg", "film", "file", "url", "mjpeg", "ipcam"),
            )
        case "images":
            return SourceTypeFacts(
                keys=("fps", "loop", "watch"),
                path="required",
                path_is="an image, a folder of images, or a pattern such as /srv/images/*.jpg",
                opens=("images",),
                default_fps=1.0,
                synonyms=("folder", "image", "picture", "pictures", "photos", "directory"),
            )
        case "imagezmq":
            return SourceTypeFacts(keys=(), addresses=True, synonyms=("zmq", "zeromq"))
        case _:
            assert_never(kind)


OPENABLE_TYPES: tuple[OpenableType, ...] = get_args(OpenableType)
CAMERAS: tuple[OpenableType, ...] = tuple(kind for kind in OPENABLE_TYPES if facts_of(kind).is_camera)
"""The types that ``auto`` tries, in this order, if no path is given."""
TYPE_SYNONYMS = {word: kind for kind in OPENABLE_TYPES for word in facts_of(kind).synonyms}
"""What people write for ``source.type``, and the type that they mean."""
TYPE_KEYS = tuple(dict.fromkeys(key for kind in OPENABLE_TYPES for key in facts_of(kind).keys))
"""The keys of ``source`` that only some types read."""


def source_of(path: Address) -> tuple[SourceType, Address]:
    """Return the type and the path that one word means.

    The word is ``auto``, a camera type, a device or its number, an address, a video file, an image, a
    folder or a pattern.
    """
    word = path.reveal()
    if word == "auto":
        return "auto", Address("")
    for camera in CAMERAS:
        if word == camera:
            return camera, Address("")
    if re.fullmatch(r"\d{1,3}", word):
        return "v4l2", Address(f"/dev/video{word}")
    if word.startswith("/dev/"):
        return "v4l2", path
    if not path.is_path or PurePath(word).suffix.lower() in VIDEO_SUFFIXES:
        return "video", path
    return "images", path


def names_camera(path: Address) -> bool:
    """Return whether `path` is a camera type or the number of a device, instead of a path."""
    return source_of(path)[1] != path


def check_place(kind: SourceType, path: Address, addresses: Sequence[Address]) -> None:
    """Raise ValueError if a source of the type `kind` can never be opened with `path` or `addresses`."""
    facts = None if kind in ("none", "auto") else facts_of(kind)
    if addresses and kind != "none" and not (facts and facts.addresses):
        users = " or ".join(f"`{each}`" for each in OPENABLE_TYPES if facts_of(each).addresses)
        raise ValueError(f"addresses: only type {users} takes addresses; this source is of type `{kind}`")
    for address in addresses:
        check_address("addresses", address.reveal())
        check_sender("addresses", address)
    if facts is None:
        return
    if facts.addresses:
        if path:
            raise ValueError(f"path: type `{kind}` takes no path but `addresses`, a list")
        if not addresses:
            raise ValueError(f"addresses: type `{kind}` needs at least one, such as tcp://10.0.0.5:5555")
    elif facts.path == "none" and path:
        raise ValueError(f"path: type `{kind}` takes no path; `camera` selects one of several")
    elif facts.path == "required" and not path:
        raise ValueError(f"path: type `{kind}` needs {facts.path_is}")
    elif path:
        _check_path(path, facts)


def _check_path(path: Address, facts: SourceTypeFacts) -> None:
    if mistake := path.mistake:
        raise ValueError(f"path: {path} cannot be opened: {mistake}")
    meant = source_of(path)[0]
    if meant not in facts.opens:
        raise ValueError(f"path: {path} is not {facts.path_is}; it needs `type: {meant}`")
