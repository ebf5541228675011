"""Read an image's size from its header and estimate the cost of decoding it."""

from __future__ import annotations

from incv3d.frames import Frame, ImageFormat, image_format
from incv3d.images import jpeg

LARGE = 4_000_000
"""A frame that costs more is decoded in the lane for large ones. 13 times an image of 640x480, 2 times one of
1920x1080."""
PIXEL_COST: dict[ImageFormat, int] = {"jpeg": 1, "png": 4, "webp": 4, "bmp": 4}
"""Time and memory per pixel, relative to a JPEG: the others cannot be decoded at half size, and are copied
more often. A WebP of 38 bytes can have 64 million pixels, and took 22 bytes for each."""
GRAPH_PIXEL_COST = 4
"""The cost per pixel if the graph decodes and resizes: it makes three floats of every pixel."""
MOST_SEGMENTS = 64
"""Phones write images with more, but searching on for their frame header would delay other frames."""

OS2_HEADER = b"\x0c\0\0\0"
"""The header length of the first BMP files."""


def is_large(frame: Frame) -> bool:
    """Return whether `frame` takes so long to decode that others should not wait for it.

    Trusts the first bytes of the header; the decoder finds false ones. An image whose size is not in the
    header, or takes long to find, is large.
    """
    if frame.width:
        return frame.width * frame.height > LARGE
    format_ = image_format(frame.data)
    if format_ is None:
        return False
    size = image_size(frame.data, format_)
    return size is None or decode_cost(*size, format_) > LARGE


def decode_cost(width: int, height: int, format_: ImageFormat) -> int:
    """Return the cost of decoding, in pixels of a JPEG."""
    return width * height * PIXEL_COST[format_]


def image_size(data: bytes | memoryview, format_: ImageFormat) -> tuple[int, int] | None:
    """Return width and height from the header; None if they are not in it or the image is progressive."""
    head = bytes(data[:32])
    match format_:
        case "jpeg":
            return _jpeg_size(data)
        case "png":  # the IHDR chunk comes first
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
        pass  # searching on would take long
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Return the size from one of the three kinds of first chunk (RFC 9649)."""
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
