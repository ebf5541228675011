"""Images, their files and frames, for tests of preprocessing."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

from incv3d.frames import Encoding, Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec

INCEPTION = InputSpec(299, 299, 128.0, 128.0, "stretch", 1.0, "bilinear")

LITE0 = InputSpec(224, 224, 127.0, 128.0, "crop", 0.875, "bicubic")

PREPARE = Preprocessor(INCEPTION, max_pixels=4_000_000)


def frame(data: bytes, encoding: Encoding | None = None, width: int = 0, height: int = 0) -> Frame:
    return Frame("zmq", data, encoding, received=0.0, captured=0.0, width=width, height=height)


def smooth(width: int, height: int) -> Image.Image:
    """A picture with slopes and edges, not noise: noise hides an error of sampling."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // width, y * 255 // height, ((x // 16 + y // 16) % 2) * 200)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
