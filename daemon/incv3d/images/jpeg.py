"""Parse the structure of a JPEG, and make a copy that a strict decoder accepts.

Segments are found as libjpeg finds them (ITU-T T.81, annex B; libjpeg's ``jdmarker.c``): bytes between
segments are skipped, and the image ends at its end marker, whatever follows.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

START, END, SCAN, RESTART_INTERVAL = 0xD8, 0xD9, 0xDA, 0xDD
TABLES = (0xC4, 0xC8, 0xCC)
"""Markers from 0xC0 to 0xCF that do not start a frame: Huffman tables, reserved, arithmetic conditioning."""
FRAMES = tuple(marker for marker in range(0xC0, 0xD0) if marker not in TABLES)
"""The markers of a frame header; each names a coding."""
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
"""The frame headers of images in many scans, each of which costs a pass over all pixels."""
HUFFMAN = (0xC0, 0xC1, 0xC2)
"""The frame headers that every JPEG decoder knows."""
ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
"""The frame headers of images with arithmetic coding; decoders continue them with zeros."""
SEQUENTIAL = (0xC0, 0xC1, 0xC9)
"""The frame headers of images whose scans hold all 64 coefficients of their blocks."""
NEEDED = (*TABLES, 0xDB, RESTART_INTERVAL)
"""The markers of other segments that decoding needs."""
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
STANDALONE = (0x01, *range(0xD0, 0xD8))
"""The markers without a length (ITU-T T.81, table B.1), except start and end."""
MOST_SEGMENTS = 1000
"""Phones write a few hundred at most: an embedded image, 64 KiB per segment."""
MOST_SCANS = 100
"""A scan costs its sender a few bytes, and the decoder a pass over all pixels; encoders write about ten."""
MOST_PADDING = 65_536
"""Maximum number of bytes between two segments."""
MOST_EQUAL = 3
"""Up to this many equal bytes at the end may belong to the image; more are padding."""
EXIF = b"Exif\0"
ORIENTATION = 0x0112
BYTE_ORDERS = {b"MM\0*": ">", b"II*\0": "<"}
NUMBERS = {1: "B", 3: "H", 4: "I"}
"""The TIFF types that a small number may have; EXIF specifies the second."""
MARKER = re.compile(rb"\xff[^\x00\xff]")
END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
LENGTH = struct.Struct(">H")
FRAME = struct.Struct(">BHHB")
"""Precision, height, width and the number of components."""

Data = bytes | memoryview


class JpegError(ValueError):
    """A JPEG's structure is damaged, or designed to keep a decoder busy."""


@dataclass(frozen=True, slots=True)
class Header:
    """The facts that precede the first scan of a JPEG."""

    frame: int
    """The marker of its frame header, one of :data:`FRAMES`."""
    precision: int
    """Bits per sample."""
    width: int
    height: int
    components: bytes
    """The identifier of each component."""
    sampling: tuple[tuple[int, int], ...]
    """The horizontal and vertical sampling factor of each component."""
    orientation: int
    """The EXIF orientation, 1 to 8; 1 if there is none."""
    scan: int
    """Where the first scan's segment begins."""

    @property
    def subsampling(self) -> str:
        """The sampling factors in readable form; ``2x2_1x1_1x1`` is 4:2:0."""
        return "_".join(f"{across}x{down}" for across, down in self.sampling)


def segments(data: Data, most: int = MOST_SEGMENTS) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the end of the image.

    A start is that of the marker itself. The encoded bytes of a scan lie between the end of its segment and
    :func:`end_of_scan`; they are searched only when the next segment is requested.

    :raises JpegError: there are more than `most`.
    """
    at = 2
    for _ in range(most):
        if (found := MARKER.search(data, at, at + MOST_PADDING)) is None:
            return
        start, at = found.start(), found.end()
        marker = data[at - 1]
        if marker in STANDALONE:
            continue
        if marker in (START, END) or at + LENGTH.size > len(data):
            return
        at += max(LENGTH.size, LENGTH.unpack_from(data, at)[0])
        yield marker, start, at
        if marker == SCAN:
            at = end_of_scan(data, at)
    raise JpegError("it has more segments than any encoder writes")


def end_of_scan(data: Data, at: int) -> int:
    """Return where the encoded bytes that begin at `at` end: at the next marker other than a restart."""
    found = END_OF_SCAN.search(data, at)
    return found.start() if found else len(data)


def read_header(data: Data) -> Header:
    """Read the header up to the first scan, and count the scans where that matters.

    :raises JpegError: it is incomplete, or there are more segments or scans than any encoder writes.
    """
    orientation = 0
    frame = precision = width = height = 0
    components: bytes = b""
    sampling: tuple[tuple[int, int], ...] = ()
    for marker, start, end in segments(data):
        body = start + 4
        if marker == APP1 and not orientation:
            orientation = _orientation(bytes(data[body:end]))
        elif marker in FRAMES and not frame:
            if body + FRAME.size > len(data):
                break
            precision, height, width, count = FRAME.unpack_from(data, body)
            each = bytes(data[body + FRAME.size : end])[: count * 3]
            components = each[::3]
            sampling = tuple((factors >> 4, factors & 15) for factors in each[1::3])
            frame = marker
        elif marker == SCAN:
            if not frame or start + 5 > len(data):
                break
            # A decoder reads only the first scan of a sequential image if that scan has all components.
            if frame in PROGRESSIVE or data[body] < len(components):
                _count_scans(data)
            return Header(frame, precision, width, height, components, sampling, orientation or 1, start)
    raise JpegError("its header is incomplete")


def _count_scans(data: Data) -> None:
    scans = (start for marker, start, _ in segments(data) if marker == SCAN)
    if next(islice(scans, MOST_SCANS, None), None) is not None:
        raise JpegError("it has more scans than any encoder writes")


def _orientation(segment: bytes) -> int:
    """Return the EXIF orientation in an APP1 segment (CIPA DC-008, TIFF 6.0); 0 if missing or damaged."""
    tiff = segment[len(EXIF) + 1 :]
    order = BYTE_ORDERS.get(tiff[:4])
    if not segment.startswith(EXIF) or order is None:
        return 0
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, type_ = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == ORIENTATION and type_ in NUMBERS:
                (orientation,) = struct.unpack_from(order + NUMBERS[type_], tiff, entry + 8)
                return int(orientation) if 1 <= orientation <= 8 else 0
    except struct.error:
        pass  # an intact image may have damaged EXIF
    return 0


def is_complete(data: Data, header: Header) -> bool:
    """Return whether the scans contain all bits of all coefficients of all components.

    A decoder does not notice a missing scan.
    """
    missing_bits: dict[tuple[int, int], int] = {}
    for marker, start, end in segments(data):
        if marker != SCAN:
            continue
        body = bytes(data[start + 4 : end])
        count = body[0] if body else 0
        if len(body) < 1 + 2 * count + 3:
            return False
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        if header.frame not in PROGRESSIVE:
            first, last, bits = 0, 63, 0
        for component in body[1 : 1 + 2 * count : 2]:
            missing_bits |= {(component, each): bits & 15 for each in range(first, last + 1)}
    wanted = ((component, each) for component in header.components for each in range(64))
    return all(missing_bits.get(each) == 0 for each in wanted)


def canonical_copy(data: Data, header: Header) -> bytes:
    """Return a copy of a JPEG reduced to what decoding needs, as encoders should write it.

    Removes other segments, bytes between segments, and bytes after the image. Normalizes the JFIF version,
    the color transform in Adobe's segment, and the parameters of a sequential scan. Adds a missing end
    marker. Does not change the encoded bytes, so that a strict decoder still finds damage there.
    """
    parts: list[Data | bytearray] = [bytes((0xFF, START))]
    is_sequential = header.frame in SEQUENTIAL
    for marker, start, end in segments(data):
        segment = bytearray(data[start:end])
        body = segment[4:]
        if marker == SCAN:
            if is_sequential:
                segment[-3:] = (0, 63, 0)
            parts += [segment, data[end : end_of_scan(data, end)]]
            if is_sequential and body[:1] == bytes([len(header.components)]):
                break
        elif marker == APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
            segment[9:11] = (1, 1)
            parts.append(segment)
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            # libjpeg treats unknown values like this one.
            known, taken = ((0, 1), 1) if len(header.components) == 3 else ((0, 2), 2)
            segment[15] = body[11] if body[11] in known else taken
            parts.append(segment)
        elif marker in NEEDED or marker in FRAMES:
            parts.append(segment)
    return b"".join((*parts, bytes((0xFF, END))))


def last_scan(data: Data) -> int:
    """Return where the encoded bytes of the last scan begin."""
    return max((end for marker, _, end in segments(data) if marker == SCAN), default=0)


def has_end(data: Data) -> bool:
    """Return whether an end marker follows the last scan."""
    at = end_of_scan(data, last_scan(data))
    return data[at : at + 2] == bytes((0xFF, END))


def strip_padding(copy: bytes) -> list[bytes]:
    """Return versions of a canonical copy without the padding of equal bytes before its end marker.

    One version keeps the first of the equal bytes, which may belong to the image. If there are few, all may,
    so an unchanged version is added. Versions that end in 0xFF, half a stuffed byte, are left out: that would
    be a marker.
    """
    encoded, end = copy[:-2], copy[-2:]
    padding = encoded[-1:]
    shorter = encoded.rstrip(padding)
    candidates = [shorter, shorter + padding]
    if 1 < len(encoded) - len(shorter) <= MOST_EQUAL:
        candidates.append(encoded)
    return [candidate + end for candidate in candidates if not candidate.endswith(b"\xff")]
