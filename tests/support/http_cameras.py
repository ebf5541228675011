"""Frames of a camera over HTTP, as the source gets them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import quote

from doubles import jpeg
from incv3d.config.address import Address
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.sources import FrameSource
from incv3d.sources.http_camera import HttpBody, open_http_camera
from webcams import (
    PASSWORD,
    USER,
)

DECODER = Preprocessor(InputSpec(224, 224, 0.0, 1.0, "stretch", 1.0, "bilinear"), 50_000_000)
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}@"
ONE = jpeg(64, 48)


@contextlib.contextmanager
def opened(url: str, timeout_s: float = 5.0, interval_s: float = 0.0) -> Iterator[FrameSource]:
    source = open_http_camera("c", Address(url), timeout_s, interval_s)
    assert not isinstance(source, HttpBody)
    try:
        yield source
    finally:
        source.close()


def frames(url: str, most: int = 3, interval_s: float = 0.0) -> list[Frame]:
    with opened(url, interval_s=interval_s) as source:
        got = [source.capture(0.0) for _ in range(most)]
    assert all(got)
    return [frame for frame in got if frame]
