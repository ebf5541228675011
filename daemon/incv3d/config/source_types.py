"""Which type of source a path or an address means, and which of them a type can open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal

from incv3d.config.address import Address
from incv3d.config.checks import check_address, check_sender

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


def check_place(kind: SourceType, path: Address, addresses: Sequence[Address]) -> None:
    """Raise ValueError if a source of the type `kind` can never be opened with `path` or `addresses`."""
    if addresses and kind not in ("imagezmq", "none"):
        raise ValueError(f"addresses: belongs to type `imagezmq`, and this is `{kind}`")
    for address in addresses:
        check_address("addresses", address.reveal())
        check_sender("addresses", address)
    match kind:
        case "images" if not path:
            raise ValueError("path: type `images` needs a picture, a folder or a pattern")
        case "video" if not path:
            raise ValueError("path: type `video` needs a file, or an address such as rtsp://10.0.0.5/stream")
        case "imagezmq" if path:
            raise ValueError("path: type `imagezmq` takes `addresses`, a list, and no path")
        case "imagezmq" if not addresses:
            raise ValueError("addresses: type `imagezmq` needs one or more such as tcp://10.0.0.5:5555")
        case "picamera2" | "picamera" if path:
            raise ValueError(f"path: type `{kind}` takes no path; `camera` says which of several is meant")
        case "v4l2" | "video" | "images" if path:
            _check_path(kind, path)


def _check_path(kind: SourceType, path: Address) -> None:
    if mistake := path.mistake:
        raise ValueError(f"path: {path} cannot be opened: {mistake}")
    meant = source_of(path)[0]
    if kind == "v4l2" and not path.is_path:
        raise ValueError(f"path: {path} is no device such as /dev/video0; it needs `type: {meant}`")
    if kind == "video" and meant == "v4l2":
        raise ValueError(f"path: {path} is a device; it needs `type: v4l2`")
    if kind == "images" and meant in ("v4l2", "video"):
        raise ValueError(f"path: {path} is no picture or folder of pictures; it needs `type: {meant}`")


def _is_film(path: Address) -> bool:
    return PurePath(path.reveal()).suffix.lower() in FILMS
