"""What the header of a picture tells before anything is decoded: its size, and how dear decoding will be."""

from __future__ import annotations

import struct

from incv3d.frames import Frame, PictureFormat, picture_format

LARGE = 4_000_000
"""A frame that costs more is decoded aside. 13 times a picture of 640x480, 2 times one of 1920x1080."""
DEARNESS: dict[PictureFormat, int] = {"jpeg": 1, "png": 4, "webp": 4, "bmp": 4}
"""What a pixel costs in time and memory, in pixels of a JPEG: the others cannot be decoded at half their
size, and are copied more often. A WebP of 38 bytes can have 64 million pixels, and took 22 bytes for each."""
GRAPH_DEARNESS = 4
"""The same where the graph itself decodes and resizes: of every pixel it makes three floats."""
MOST_SCANS = 100
"""Each scan of a JPEG costs a pass over all its pixels, and a few bytes; encoders write about ten."""
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
"""The JPEG start-of-frame markers of pictures in many scans, each of which costs a pass over all pixels."""
TABLES = (0xC4, 0xC8, 0xCC)
"""The JPEG markers among those of start of frame that are none."""
SEGMENT = struct.Struct(">BBHBHH")
"""A marker, the length of its segment and, in a start of frame, precision, height and width."""
START_OF_SCAN = b"\xff\xda"
STANDALONE = (0x01, *range(0xD0, 0xD9))
"""JPEG markers that have no length (ITU-T T.81, table B.1)."""
MOST_SEGMENTS = 64
"""A JPEG with more segments before its first scan is not one that a camera made."""


def is_large(frame: Frame) -> bool:
    """Whether `frame` takes so long to decode that others should not wait for it.

    Reads a few bytes of the header and believes them: what they hide is for the decoder to find. A picture
    whose header says nothing, or tries to take long, is large.
    """
    if frame.width:
        return frame.width * frame.height > LARGE
    format_ = picture_format(frame.data)
    if format_ is None:
        return False
    size = picture_size(frame.data, format_)
    return size is None or cost(*size, format_) > LARGE


def cost(width: int, height: int, format_: PictureFormat) -> int:
    """What decoding costs, in pixels of a JPEG."""
    return width * height * DEARNESS[format_]


def has_too_many_scans(jpeg: bytes | memoryview) -> bool:
    """Whether decoding `jpeg` would go over its pixels more often than any encoder has use for."""
    return bytes(jpeg).count(START_OF_SCAN) > MOST_SCANS


def picture_size(data: bytes | memoryview, format_: PictureFormat) -> tuple[int, int] | None:
    """Width and height as the header has them; None: it does not say, or the picture is progressive."""
    head = bytes(data[:32])
    match format_:
        case "jpeg":
            return _jpeg_size(data)
        case "png":  # the chunk IHDR comes first
            return _big(head[16:20]), _big(head[20:24])
        case "bmp":  # a height below zero means rows from the top
            return abs(_signed(head[18:22])), abs(_signed(head[22:26]))
        case "webp":
            return _webp_size(head)


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    at = 2
    for _ in range(MOST_SEGMENTS):
        if at + SEGMENT.size > len(data):
            return None
        prefix, marker, length, _, height, width = SEGMENT.unpack_from(data, at)
        if prefix != 0xFF:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in TABLES:
            return None if marker in PROGRESSIVE else (width, height)
        if marker == 0xFF:  # padding
            at += 1
        elif marker in STANDALONE:
            at += 2
        else:
            at += 2 + length
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Of the three kinds of first chunk (RFC 9649)."""
    match head[12:16]:
        case b"VP8 ":
            return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
        case b"VP8L":
            bits = _little(head[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)
