"""The answer to ``frame``: what a source of the daemon saw last."""

from __future__ import annotations

import msgspec

from incv3d.frames import Colours, Encoding, Transform, YuvEncoding


class LatestFrame(msgspec.Struct, kw_only=True):
    """A frame that was captured and classified."""

    number: int
    """0: there is no frame after the one that was named; ask again."""
    captured_at: float = 0.0
    """When it was captured, in seconds since 1970."""
    encoding: Encoding | YuvEncoding | None = None
    """None: an encoded image, whose first bytes determine the format."""
    width: int = 0
    height: int = 0
    transform: Transform = "none"
    colours: Colours = "bt601"
    region: tuple[float, float, float, float] | None = None
    """The part of the upright image that was classified; None: all of it."""
    image: bytes = b""
    """As it was captured; in JSON, as base64."""
