"""Encode a frame as an image file with its labels in EXIF, or in a JSON file next to it."""

from __future__ import annotations

import json
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image

from incv3d.clock import timestamp_ms
from incv3d.frames import CHANNELS, Frame, ImageFormat, Prediction, image_format, is_yuv
from incv3d.images import yuv
from incv3d.images.encode import encode_jpeg
from incv3d.images.resize import ORIENTATIONS, combine_orientations

JPEG_QUALITY = 90
LONGEST_LABEL = 60
"""Bytes of the label in a file name, which can have at most 255."""
LARGEST_SEGMENT = 65_535 - 2
"""Bytes that a segment of a JPEG can hold."""
EXIF = b"Exif\x00\x00"
SUFFIXES: dict[ImageFormat, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "bmp": ".bmp"}

Why = Literal["entered", "match"]


@dataclass(frozen=True, slots=True)
class ImageToSave:
    """A frame to save."""

    frame: Frame
    at_unix_s: float
    """When it was captured."""
    why: Why
    labels: tuple[Prediction, ...]
    """The labels it is saved for, best first; at least one."""
    predictions: tuple[Prediction, ...]
    """All predictions."""
    model: str


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The content of an image file."""

    suffix: str
    data: bytes
    metadata: bytes = b""
    """JSON for a separate file; empty if the image itself contains it."""


def stem(shot: ImageToSave) -> str:
    """Return the file name without suffix, ``20260131T120000.000Z_camera_tench_0.89``; names sort by time."""
    best = shot.labels[0]
    return file_stem(timestamp_ms(shot.at_unix_s), shot.frame.source, best.label, best.score)


def file_stem(at: str, source: str, label: str, score: float) -> str:
    """Return the file name without suffix for what was captured at the timestamp `at`."""
    moment = re.sub("[-:]", "", at)
    words = re.sub(r"[\W_]+", "-", label).encode()[:LONGEST_LABEL].decode(errors="ignore")
    return f"{moment}_{source}_{words.strip('-') or 'label'}_{score:.2f}"


def rendered(shot: ImageToSave) -> ImageFile:
    """Return the image as received, with its labels in EXIF if it is a JPEG; raw pixels become a JPEG."""
    frame = shot.frame
    said = json.dumps(_facts(shot), separators=(",", ":"))
    turned = ORIENTATIONS[frame.transform]
    data = encoded(frame) if frame.width else bytes(frame.data)
    format_ = image_format(data)
    assert format_, "a classified frame is an image"
    suffix = SUFFIXES[format_]
    if format_ == "jpeg" and (labelled := with_exif(data, _summary(shot), said, shot.at_unix_s, turned)):
        return ImageFile(suffix, labelled)
    return ImageFile(suffix, data, said.encode() + b"\n")


def encoded(frame: Frame) -> bytes:
    """Return a frame of raw pixels as a JPEG."""
    encoding = frame.encoding
    if is_yuv(encoding):
        rgb = yuv.to_rgb(frame.data, encoding, frame.width, frame.height, frame.colours)
        return encoded(replace(frame, data=rgb.data.cast("B"), encoding="rgb24"))
    pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, CHANNELS[str(encoding)])
    order = {"rgb24": "RGB", "bgr24": "BGR", "rgba": "RGBX", "bgra": "BGRX", "gray8": "GRAY"}[str(encoding)]
    return encode_jpeg(pixels, JPEG_QUALITY, order)


def with_exif(jpeg: bytes, description: str, comment: str, at_unix_s: float, turned: int = 1) -> bytes | None:
    """Return `jpeg` with a description, an ASCII comment and a time in its EXIF, otherwise unchanged.

    Existing EXIF is kept, except for a thumbnail, and an existing capture time overrides `at_unix_s`.

    :param turned: the orientation that makes it upright, in addition to its own EXIF.
    :returns: None if that is impossible: its segments or its EXIF are damaged, or there is no room.
    """
    try:
        segments = list(_segments(jpeg))
        old = next(((start, end) for start, end in segments if _is_exif(jpeg, start)), None)
        exif = Image.Exif()
        with warnings.catch_warnings():
            # Pillow omits EXIF that it cannot read; the warning would help nobody.
            warnings.simplefilter("ignore", UserWarning)
            if old:
                exif.load(jpeg[old[0] + 4 : old[1]])
            _describe(exif, description, comment, at_unix_s)
            if turned != 1:
                own = exif.get(ExifTags.Base.Orientation, 1)
                exif[ExifTags.Base.Orientation] = combine_orientations(own, turned)
            payload = exif.tobytes()
    except (struct.error, OSError, ValueError, SyntaxError, TypeError, KeyError, OverflowError, IndexError):
        return None  # Pillow raises all of these on damaged EXIF
    if len(payload) > LARGEST_SEGMENT:
        return None
    segment = struct.pack(">HH", 0xFFE1, len(payload) + 2) + payload
    if old:
        return jpeg[: old[0]] + segment + jpeg[old[1] :]
    # A JFIF segment must come first; EXIF follows.
    at = next((end for start, end in segments[:1] if jpeg[start + 1] == 0xE0), 2)
    return jpeg[:at] + segment + jpeg[at:]


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each segment before the scan.

    :raises ValueError: the sequence of segments is damaged.
    """
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", jpeg, at)
        if marker >> 8 != 0xFF or length < 2 or at + 2 + length > len(jpeg):
            raise ValueError("not a segment of a JPEG")
        if marker == 0xFFDA:
            return
        yield at, at + 2 + length
        at += 2 + length


def _is_exif(jpeg: bytes, start: int) -> bool:
    return jpeg[start + 1] == 0xE1 and jpeg.startswith(EXIF, start + 4)


def _describe(exif: Image.Exif, description: str, comment: str, at_unix_s: float) -> None:
    moment = datetime.fromtimestamp(at_unix_s, UTC)
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details.setdefault(ExifTags.Base.ExifVersion, b"0232")
    if ExifTags.Base.DateTimeOriginal not in details:
        details[ExifTags.Base.DateTimeOriginal] = f"{moment:%Y:%m:%d %H:%M:%S}"
        details[ExifTags.Base.SubsecTimeOriginal] = f"{moment.microsecond // 1000:03d}"
        details[ExifTags.Base.OffsetTimeOriginal] = "+00:00"
    # What kind of text follows is said in its first 8 bytes.
    details[ExifTags.Base.UserComment] = b"ASCII\x00\x00\x00" + comment.encode("ascii")
    exif[ExifTags.Base.ImageDescription] = description.encode()


def _summary(shot: ImageToSave) -> str:
    labels = ", ".join(f"{label.label} {label.score:.2f}" for label in shot.labels)
    return f"{labels} ({shot.frame.source}, {timestamp_ms(shot.at_unix_s)})"


def _facts(shot: ImageToSave) -> dict[str, Any]:
    frame = shot.frame
    return {
        "v": 1,
        "source": frame.source,
        # The saved image is the whole frame as captured; this is the part that was classified.
        **({"region": asdict(frame.region)} if frame.region else {}),
        **({"transform": frame.transform} if frame.transform != "none" else {}),
        "at": timestamp_ms(shot.at_unix_s),
        "why": shot.why,
        "model": shot.model,
        "labels": [asdict(label) for label in shot.labels],
        "predictions": [asdict(prediction) for prediction in shot.predictions],
    }
