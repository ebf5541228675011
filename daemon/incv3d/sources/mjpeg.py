"""Find the images in the bytes of a Motion JPEG stream, whatever lies between them.

The end of an image is found in the image itself. Boundaries and part headers, which cameras get wrong in
many ways, are only needed for JPEGs without an end marker.
"""

from __future__ import annotations

import re
import struct

from incv3d.errors import Incv3dError

LARGEST_IMAGE = 32 * 1024 * 1024
"""Bytes."""
START_OF_JPEG = b"\xff\xd8\xff"
END_OF_JPEG = b"\xff\xd9"
END_OR_START = re.compile(rb"\xff[\xd8\xd9]")
"""Neither can be in the data of a scan."""
START_OF_SCAN = 0xDA
STANDALONE = (0x01, *range(0xD0, 0xD9))
"""JPEG markers that have no length (ITU-T T.81, table B.1)."""
END_OF_PNG = b"IEND\xaeB`\x82"
SIGNATURES = rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP"
LONGEST_SIGNATURE = 13
"""With the line feed that precedes it."""
FIRST = re.compile(rb"(?:\A|\n)(?:%s)" % SIGNATURES, re.DOTALL)
IN_PART = re.compile(rb"\n(?:%s)" % SIGNATURES, re.DOTALL)
"""After the empty line that ends the headers of a part. Whatever else follows an image, such as the smaller
copies that some cameras append, belongs to it."""
BARE = re.compile(re.escape(START_OF_JPEG))
"""In a stream without parts, in which JPEGs follow each other directly."""
PART_BEGINS = re.compile(rb"\r?\n(?=--|content-)", re.IGNORECASE)
SHORTEST_BOUNDARY = 4
"""A shorter one could occur in an image by chance."""


class SplitError(Incv3dError):
    """Raised when an image does not end."""


class ImageSplitter:
    """Splits a stream into images: JPEG, and in multipart streams also PNG and WebP.

    :param boundary: as the ``Content-Type`` names it, with or without dashes; empty: it does not.
    :param in_parts: False: JPEGs follow each other with nothing between them.
    """

    def __init__(self, boundary: str = "", in_parts: bool = True) -> None:
        token = boundary.strip().strip('"').lstrip("-").encode("latin-1", "replace")
        self._boundary = token if len(token) >= SHORTEST_BOUNDARY else b""
        self._start = FIRST if in_parts else BARE
        self._next = IN_PART if in_parts else BARE
        self._lacks_ends = False
        """Whether a JPEG without an end marker was found."""
        self._buffer = bytearray()
        self._began: float | None = None
        self._at = 0
        self._scan: int | None = None
        """Where the first scan of the JPEG begins, once known."""

    @property
    def is_in_image(self) -> bool:
        """Whether an image has begun and not ended."""
        return self._began is not None

    def feed(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """Take the next bytes of the stream, received at `now`, and return the images that they complete.

        :returns: for each image the time at which its first bytes arrived, and its bytes.
        :raises SplitError: an image is larger than any camera's.
        """
        self._buffer += data
        images: list[tuple[float, bytes]] = []
        while self._find_start(now) and (end := self._find_end()) is not None:
            assert self._began is not None
            images.append((self._began, bytes(self._buffer[:end])))
            del self._buffer[:end]
            self._began = None
        if len(self._buffer) > LARGEST_IMAGE:
            raise SplitError(f"no end of the image within {LARGEST_IMAGE >> 20} MiB")
        return images

    def _find_start(self, now: float) -> bool:
        """Discard what comes before the next image; False if none has begun."""
        if self._began is not None:
            return True
        found = self._start.search(self._buffer)
        if not found:
            # Only the possible beginning of a signature is kept.
            del self._buffer[: -LONGEST_SIGNATURE if self._start is not FIRST else 0]
            if len(self._buffer) > LONGEST_SIGNATURE:
                self._start = self._next
            return False
        del self._buffer[: found.end() - len(found[0].lstrip(b"\n"))]
        self._start = self._next
        self._began = now
        self._at = 2
        self._scan = None
        return True

    def _find_end(self) -> int | None:
        if self._buffer.startswith(b"RIFF"):
            end = 8 + int(struct.unpack_from("<I", self._buffer, 4)[0])
            return end if end <= len(self._buffer) else None
        if self._buffer.startswith(b"\x89PNG"):
            found = self._buffer.find(END_OF_PNG, self._at)
            self._at = max(self._at, len(self._buffer) - len(END_OF_PNG))
            return found + len(END_OF_PNG) if found >= 0 else None
        return self._end_of_header() if self._scan is None else self._end_of_scan()

    def _end_of_header(self) -> int | None:
        """Skip the segments of a JPEG up to its first scan: an end marker in them belongs to a thumbnail."""
        while self._at + 4 <= len(self._buffer):
            prefix, marker, length = struct.unpack_from(">BBH", self._buffer, self._at)
            if prefix == 0xFF and marker == 0xD9:
                return self._at + 2
            if prefix == 0xFF and marker == 0xFF:
                self._at += 1
            elif prefix == 0xFF and marker in STANDALONE:
                self._at += 2
            elif prefix == 0xFF and marker != START_OF_SCAN:
                self._at += 2 + length
            else:  # the scan, or damage
                self._scan = self._at
                return self._end_of_scan()
        return None

    def _end_of_scan(self) -> int | None:
        """Return where the JPEG ends: at its end marker or, without one, where the next part begins."""
        if self._lacks_ends and self._boundary:
            boundary = self._buffer.find(self._boundary, self._at)
            if boundary >= 0:
                return len(self._buffer[:boundary].rstrip(b"-").removesuffix(b"\n").removesuffix(b"\r"))
        found = END_OR_START.search(self._buffer, self._at)
        if found and found[0] == END_OF_JPEG:
            return found.end()
        if found:
            self._lacks_ends = True
            parts = list(PART_BEGINS.finditer(self._buffer, self._scan or 0, found.start()))
            dashes = [each for each in parts if self._buffer.startswith(b"--", each.end())]
            cut = dashes[-1:] or parts[:1] or [found]
            return cut[0].start()
        self._at = max(self._at, len(self._buffer) - max(1, len(self._boundary)))
        return None
