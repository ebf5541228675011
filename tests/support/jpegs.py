"""JPEGs as no encoder at hand writes them: any sampling factors, any segments, whole or cut."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

STEP = 4
"""Of the quantisation, for every coefficient."""
ZIGZAG = sorted(range(64), key=lambda at: (at // 8 + at % 8, at // 8 if (at // 8 + at % 8) % 2 else at % 8))
DC_SYMBOLS = bytes(range(12))
AC_SYMBOLS = bytes((0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))))
EOI = b"\xff\xd9"

Factors = Sequence[tuple[int, int]]


def segment(marker: int, body: bytes) -> bytes:
    """A segment with its marker and length."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def with_segments(data: bytes, *added: bytes, at: int = 2) -> bytes:
    """`data` with segments put in, right after its start marker as a rule."""
    return data[:at] + b"".join(added) + data[at:]


def after_jfif(data: bytes) -> int:
    """Where the segment of JFIF, which comes first, ends."""
    return 4 + struct.unpack_from(">H", data, 4)[0]


def scan_of(data: bytes) -> int:
    """Where the encoded bytes of the first scan begin."""
    start = data.index(b"\xff\xda")
    return start + 2 + struct.unpack_from(">H", data, start + 2)[0]


def exif(orientation: int, order: str = ">") -> bytes:
    """An APP1 segment that says how the picture is to be turned, and nothing else."""
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    directory = struct.pack(f"{order}H", 1) + entry + bytes(4)
    start = b"MM\0*" if order == ">" else b"II*\0"
    return segment(0xE1, b"Exif\0\0" + start + struct.pack(f"{order}I", 8) + directory)


def xmp(length: int = 60_000) -> bytes:
    """An APP1 segment of the other kind."""
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b" " * length)


def icc(parts: int = 1, length: int = 3000) -> bytes:
    """A colour profile in as many APP2 segments."""
    bodies = (b"ICC_PROFILE\0" + bytes((part, parts)) + bytes(length) for part in range(1, parts + 1))
    return b"".join(segment(0xE2, body) for body in bodies)


def jfif(version: tuple[int, int], body: bytes = b"\0\0\x01\0\x01\0\0") -> bytes:
    """An APP0 segment of a version of JFIF."""
    return segment(0xE0, b"JFIF\0" + bytes(version) + body)


def adobe(transform: int) -> bytes:
    """An APP14 segment: 0 is RGB or CMYK, 1 YCbCr, 2 YCCK."""
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))


def sampled(image: Image.Image, factors: Factors, interval: int = 0) -> bytes:
    """`image` as a baseline JPEG whose components have these (horizontal, vertical) sampling factors.

    :param interval: MCUs between restart markers; 0: there are none.
    """
    across, down = (max(each) for each in zip(*factors, strict=True))
    columns, rows = -(-image.width // (8 * across)), -(-image.height // (8 * down))
    planes = [_plane(image.convert("YCbCr").getchannel(c), columns * h, rows * v, (across // h, down // v))
              for c, (h, v) in enumerate(factors)]  # fmt: skip
    predicted = [0] * len(factors)
    scan, bits = b"", ""
    for mcu in range(rows * columns):
        if interval and mcu and not mcu % interval:
            scan += _packed(bits) + bytes((0xFF, 0xD0 + (mcu // interval - 1) % 8))
            bits, predicted = "", [0] * len(factors)
        row, column = divmod(mcu, columns)
        for number, (h, v) in enumerate(factors):
            for block in range(h * v):
                levels = planes[number][row * v + block // h, column * h + block % h]
                bits += _encoded(levels, predicted[number])
                predicted[number] = levels[0]
    scan += _packed(bits)
    components = b"".join(bytes((n, h << 4 | v, 0)) for n, (h, v) in enumerate(factors, 1))
    size = struct.pack(">BHHB", 8, image.height, image.width, len(factors))
    selectors = b"".join(bytes((n, 0)) for n in range(1, len(factors) + 1))
    return b"".join((
        b"\xff\xd8",
        jfif((1, 1)),
        segment(0xDB, bytes((0, *[STEP] * 64))),
        segment(0xC0, size + components),
        segment(0xC4, bytes((0x00, *[0] * 3, len(DC_SYMBOLS), *[0] * 12)) + DC_SYMBOLS),
        segment(0xC4, bytes((0x10, *[0] * 7, len(AC_SYMBOLS), *[0] * 8)) + AC_SYMBOLS),
        segment(0xDD, struct.pack(">H", interval)) if interval else b"",
        segment(0xDA, bytes((len(factors),)) + selectors + b"\0\x3f\0"),
        scan,
        EOI,
    ))  # fmt: skip


def _plane(channel: Image.Image, columns: int, rows: int, reduced: tuple[int, int]) -> npt.NDArray[np.int_]:
    """The quantised coefficients of each block, in zigzag order: ``(rows, columns, 64)``."""
    values = np.asarray(channel.reduce(reduced), float) - 128
    values = values[: rows * 8, : columns * 8]
    pad = ((0, rows * 8 - values.shape[0]), (0, columns * 8 - values.shape[1]))
    blocks = np.pad(values, pad, "edge").reshape(rows, 8, columns, 8).swapaxes(1, 2)
    k, x = np.mgrid[0:8, 0:8]
    cosines = np.cos((2 * x + 1) * k * np.pi / 16) * np.where(k, 0.5, 0.5**1.5)
    levels = np.rint(cosines @ blocks @ cosines.T / STEP).astype(int)
    return levels.reshape(rows, columns, 64)[:, :, ZIGZAG]


def _encoded(levels: npt.NDArray[np.int_], predicted: int) -> str:
    size, value = _value(int(levels[0] - predicted))
    bits = f"{DC_SYMBOLS.index(size):04b}{value}"
    run = 0
    last = int(np.flatnonzero(levels)[-1]) if levels.any() else 0
    for level in levels[1 : last + 1].tolist():
        if not level:
            run += 1
            continue
        bits += f"{AC_SYMBOLS.index(0xF0):08b}" * (run // 16)
        size, value = _value(level)
        bits += f"{AC_SYMBOLS.index(run % 16 << 4 | size):08b}{value}"
        run = 0
    return bits if last == 63 else bits + f"{AC_SYMBOLS.index(0x00):08b}"


def _value(number: int) -> tuple[int, str]:
    """How many bits a coefficient takes, and these."""
    size = abs(number).bit_length()
    return size, f"{number if number > 0 else number + (1 << size) - 1:0{size}b}" if size else ""


def _packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
