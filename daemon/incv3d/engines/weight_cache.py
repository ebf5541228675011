"""Check the file into which XNNPACK has packed a flatbuffer's weights, so that they are mapped, not copied.

XNNPACK recognizes a weight by its number in the flatbuffer, not by its content, and it reads a damaged file
as it is: with the file of another network, or with a changed one, it returns wrong scores or aborts. So this
file is used only if the index beside it names the same flatbuffer, LiteRT and processor, and the sums of its
pages are unchanged.
"""

from __future__ import annotations

import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np

from incv3d.machine import processor

PACKAGE = "ai-edge-litert"
WEIGHTS = "weights.xnnpack"
INDEX = "weights.json"
FORMAT = 2
PAGE_BYTES = 4096
BLOCK_BYTES = 1 << 20


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What the packed weights depend on; with another flatbuffer, LiteRT or processor they are useless."""

    format: int
    source_sha256: str
    """SHA-256 of the flatbuffer."""
    litert: str
    processor: str


class WeightIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a file of packed weights. It is written last."""

    origin: Origin
    size_bytes: int = 0
    checksum: int = 0
    refusal: str = ""
    """Why this network cannot run with packed weights in a file; empty: it can."""


def origin_of(source_sha256: str) -> Origin:
    """Return what weights that were packed now would depend on.

    :raises PackageNotFoundError: LiteRT is not installed.
    """
    return Origin(format=FORMAT, source_sha256=source_sha256, litert=version(PACKAGE), processor=processor())


def read_index(network: Path, source_sha256: str) -> WeightIndex | None:
    """Return the index beside a flatbuffer, or None if it is missing or describes other weights.

    :param source_sha256: the SHA-256 of the flatbuffer at `network`.
    """
    try:
        content = network.with_name(INDEX).read_bytes()
        index = msgspec.json.decode(content, type=WeightIndex)
        return index if index.origin == origin_of(source_sha256) else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, PackageNotFoundError):
        return None


def find_weights(network: Path, index: WeightIndex) -> Path | None:
    """Return the file of packed weights beside a flatbuffer, or None if it is not what `index` describes.

    Reads the whole file: 95 MB in the page cache take about 15 ms on x86. The first run would read it, too.
    """
    weights = network.with_name(WEIGHTS)
    try:
        whole = weights.stat().st_size == index.size_bytes and checksum_of(weights) == index.checksum
    except OSError:
        return None
    return weights if whole else None


def checksum_of(weights: Path) -> int:
    """Return the CRC of the sums of a file's pages, each as 512 little-endian integers of 64 bits.

    Any changed word and any lost or misplaced page changes it, and it is computed at the speed of memory; a
    CRC of all bytes takes three times as long.
    """
    block = bytearray(BLOCK_BYTES)
    words = np.frombuffer(block, "<u8").reshape(-1, PAGE_BYTES // 8)
    checksum = 0
    with weights.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            pages = -(-count // PAGE_BYTES)
            block[count : pages * PAGE_BYTES] = bytes(pages * PAGE_BYTES - count)
            checksum = zlib.crc32(words[:pages].sum(axis=1, dtype="<u8").tobytes(), checksum)
    return checksum
