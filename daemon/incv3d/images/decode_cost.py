"""What the header of a picture tells before anything is decoded: its size, and how dear decoding will be."""

from __future__ import annotations

from incv3d.frames import Frame, PictureFormat, picture_format
from incv3d.images import jpeg

LARGE = 4_000_000
"""A frame that costs more is decoded aside. 13 times a picture of 640x480, 2 times one of 1920x1080."""
DEARNESS: dict[PictureFormat, int] = {"jpeg": 1, "png": 4, "webp": 4, "bmp": 4}
"""What a pixel costs in time and memory, in pixels of a JPEG: the others cannot be decoded at half their
size, and are copied more often. A WebP of 38 bytes can have 64 million pixels, and took 22 bytes for each."""
GRAPH_DEARNESS = 4
"""The same where the graph itself decodes and resizes: of every pixel it makes three floats."""
MOST_SEGMENTS = 64
"""Phones write pictures with more; to look for their frame header would hold up others."""

OS2_HEADER = b"\x0c\0\0\0"
"""The length of the header of the first BMP files."""


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


def picture_size(data: bytes | memoryview, format_: PictureFormat) -> tuple[int, int] | None:
    """Width and height as the header has them; None: it does not say, or the picture is progressive."""
    head = bytes(data[:32])
    match format_:
        case "jpeg":
            return _jpeg_size(data)
        case "png":  # the chunk IHDR comes first
            return _big(head[16:20]), _big(head[20:24])
        case "bmp" if head[14:18] == OS2_HEADER:
            return _little(head[18:20]), _little(head[20:22])
        case "bmp":  # a height below zero means rows from the top
            return abs(_signed(head[18:22])), abs(_signed(head[22:26]))
        case "webp":
            return _webp_size(head)


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    try:
        for marker, start, _ in jpeg.segments(data, MOST_SEGMENTS):
            if marker in jpeg.FRAMES and start + 4 + jpeg.FRAME.size <= len(data):
                _, height, width, _ = jpeg.FRAME.unpack_from(data, start + 4)
                return None if marker in jpeg.PROGRESSIVE else (width, height)
            if marker == jpeg.SCAN:
                break
    except jpeg.JpegError:
        pass  # it would take long to find out
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
