"""Which type of source a path or an address means, and which of them a type can open."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from incv3d.address import Address

SourceType = Literal["none", "auto", "picamera2", "picamera", "v4l2", "video", "images", "imagezmq"]
CAMERAS: tuple[Literal["picamera2", "picamera", "v4l2"], ...] = ("picamera2", "picamera", "v4l2")
"""The types that `auto` tries, in this order, where no path is given."""
FILMS = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mjpeg", ".h264"}


def source_of(path: Address) -> tuple[SourceType, Address]:
    """The type and the path that one word means.

    A word is ``auto``, a type of camera, a device or its number, an address, a film, a picture, a folder
    or a pattern.
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
    if not path.is_path or _is_film(path):
        return "video", path
    return "images", path


def names_camera(path: Address) -> bool:
    """Whether `path` is a type of camera or the number of a device, instead of a path."""
    return source_of(path)[1] != path


def check_kind(key: str, kind: SourceType, path: Address) -> None:
    """Raise ValueError if a source of the type `kind` can never be opened with `path`."""
    if not path or kind in ("none", "auto"):
        return
    if kind == "imagezmq":
        raise ValueError(f"{key}: type `imagezmq` takes `addresses`, a list, and no path")
    if kind in ("picamera2", "picamera"):
        raise ValueError(f"{key}: type `{kind}` takes no path; `camera` says which of several is meant")
    if mistake := path.mistake:
        raise ValueError(f"{key}: {path} cannot be opened: {mistake}")
    meant = source_of(path)[0]
    if kind == "v4l2" and not path.is_path:
        raise ValueError(f"{key}: {path} is no device such as /dev/video0; it needs `type: {meant}`")
    if kind == "video" and meant == "v4l2":
        raise ValueError(f"{key}: {path} is a device; it needs `type: v4l2`")
    if kind == "images" and meant in ("v4l2", "video"):
        raise ValueError(f"{key}: {path} is no picture or folder of pictures; it needs `type: {meant}`")


def _is_film(path: Address) -> bool:
    return PurePath(path.reveal()).suffix.lower() in FILMS
