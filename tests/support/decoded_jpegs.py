"""JPEGs, and their pixels as decoded in every mode."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from incv3d.frames import Frame
from incv3d.images.decode_cost import is_large
from incv3d.images.jpeg import segments
from incv3d.images.preprocess import ImageError, Mode, Preprocessor
from incv3d.images.resize import InputSpec
from jpegs import (
    EOI,
    after_jfif,
    jfif,
    scan_of,
    segment,
    with_segments,
)

MODES: tuple[Mode, ...] = ("fast", "exact", "graph")

SPEC = InputSpec(32, 32, 128.0, 128.0, "stretch", 1.0, "bilinear")

DECODERS = {mode: Preprocessor(SPEC, 4_000_000, mode) for mode in MODES}

MOTION = segment(0xE1, b"MotionPhoto") + bytes(24) + b"ftypmp42" + bytes(range(256)) * 20


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // width, y * 255 // height, ((x // 16 + y // 16) % 2) * 200)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def frame(data: bytes) -> Frame:
    return Frame("zmq", data, None, received=0.0, captured=0.0)


def decoded(data: bytes) -> np.ndarray:
    """The pixels at full size, after it was seen that the graph is fed the same."""
    exact, graph = (DECODERS[mode].decode(frame(data)) for mode in ("exact", "graph"))
    np.testing.assert_array_equal(graph, exact)
    fed = DECODERS["graph"](frame(data))
    if isinstance(fed, bytes):
        assert fed == data
        fed = simplejpeg.decode_jpeg(fed, fastdct=True)
    np.testing.assert_array_equal(fed, exact)
    return exact


def assert_same(odd: bytes, plain: bytes) -> None:
    """See that both are the same picture to the bit, at full size and decoded small."""
    np.testing.assert_array_equal(decoded(odd), decoded(plain))
    small, want = (DECODERS["fast"].decode(frame(data)) for data in (odd, plain))
    np.testing.assert_array_equal(small, want)
    if len(list(segments(odd))) < 64:  # those with more are decoded aside
        assert is_large(frame(odd)) is is_large(frame(plain))


def refusal(data: bytes) -> str:
    """What every mode says against a picture."""
    said = set()
    for mode in MODES:
        with pytest.raises(ImageError) as caught:
            DECODERS[mode](frame(data))
        said.add(str(caught.value))
    assert len(said) == 1, said
    return said.pop()


def by_pillow(data: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"), int)


BASE = jpeg(smooth(200, 134))

RESTARTS = jpeg(smooth(200, 134), restart_marker_rows=1)

PROGRESSIVE = jpeg(smooth(200, 134), progressive=True)

GREY = jpeg(smooth(200, 134, "L"))

CMYK = jpeg(smooth(200, 134, "CMYK"))

ALL = {"base": BASE, "restarts": RESTARTS, "progressive": PROGRESSIVE, "grey": GREY, "cmyk": CMYK}


def samsung(data: bytes, parameters: bytes) -> bytes:
    """With other scan parameters than encoders should write."""
    at = scan_of(data)
    return data[: at - 3] + parameters + data[at:]


def without_jfif(data: bytes, *instead: bytes) -> bytes:
    return data[:2] + b"".join(instead) + data[after_jfif(data) :]


ODD: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda data: data,
    "no end marker": lambda data: data[:-2],
    "half an end marker": lambda data: data[:-1],
    "zeros after the end": lambda data: data + bytes(5000),
    "zeros instead of the end": lambda data: data[:-2] + bytes(5000),
    "zeros before the end": lambda data: data[:-2] + bytes(5000) + EOI,
    "0xFF before the end": lambda data: data[:-2] + b"\xff" * 7 + EOI,
    "0xFF instead of the end": lambda data: data[:-2] + b"\xff" * 64,
    "text after the end": lambda data: data + b"\r\n--boundary\r\nContent-Type: image/jpeg\r\n",
    "a film after the end": lambda data: data + MOTION + b"\xff\xda" * 101,
    "another picture after the end": lambda data: data + GREY,
    "another picture instead of the end": lambda data: data[:-2] + GREY,
    "padding between segments": lambda data: with_segments(data, b"\0" * 20, at=after_jfif(data)),
    "padding with 0xFF": lambda data: with_segments(data, b"\xff" * 20, at=after_jfif(data)),
    "a stuffed byte between segments": lambda data: with_segments(data, b"\xff\0", at=after_jfif(data)),
    "JFIF 0.00": lambda data: without_jfif(data, jfif((0, 0))),
    "JFIF 2.01": lambda data: without_jfif(data, jfif((2, 1))),
    "JFIF 1.255": lambda data: without_jfif(data, jfif((1, 255))),
    "JFIF 255.255": lambda data: without_jfif(data, jfif((255, 255))),
    "JFIF cut short": lambda data: without_jfif(data, jfif((1, 1), b"\0\0")),
    "JFIF of odd density and thumbnail": lambda data: without_jfif(data, jfif((1, 2), b"\7\0\0\0\0\x09\x09")),
    "no JFIF": lambda data: without_jfif(data),
    "JFIF twice": lambda data: with_segments(data, jfif((1, 2))),
    "an AVI's segment": lambda data: without_jfif(data, segment(0xE0, b"AVI1" + bytes(10))),
    "a thumbnail of its own": lambda data: with_segments(
        data, segment(0xE1, b"Exif\0\0" + b"II*\0" + bytes(4) + GREY), at=after_jfif(data)
    ),
    "scans named in a comment": lambda data: with_segments(data, segment(0xFE, b"\xff\xda" * 500)),
    "an end named in a comment": lambda data: with_segments(data, segment(0xFE, b"\xff\xd9" * 500)),
    "many segments": lambda data: with_segments(data, *[segment(0xE2, b"x" * 60)] * 300),
    "a damaged colour profile": lambda data: with_segments(data, segment(0xE2, b"ICC_PROFILE\0\7\3junk")),
    "JFIF 0.00, padded, no end marker": lambda data: without_jfif(data, jfif((0, 0)), b"\0" * 9)[:-2],
}  # fmt: skip

CUTS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda cut: cut,
    "with an end marker": lambda cut: cut + EOI,
    "filled up with zeros": lambda cut: cut + bytes(50_000),
    "filled up with zeros, and an end marker": lambda cut: cut + bytes(50_000) + EOI,
    "filled up with text": lambda cut: cut + b"\r\n--boundary\r\nContent-Type: image/jpeg\r\n\r\n" * 1000,
    "filled up with text, and an end marker": lambda cut: cut + b"some text, " * 5000 + EOI,
    "before a film": lambda cut: cut + MOTION,
    "before the next picture": lambda cut: cut + BASE,
}
