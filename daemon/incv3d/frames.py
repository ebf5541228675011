"""Define the data passed between rooms: a :class:`Frame` goes in, a :class:`Result` comes out.

Both are plain data: no sockets, no configuration. Times without a unit suffix are seconds of
:func:`time.monotonic`; durations carry their unit (``run_ms``, ``age_ms``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeGuard, get_args

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ImageFormat = Literal["jpeg", "png", "webp", "bmp"]
Encoding = Literal["jpeg", "png", "webp", "bmp", "rgb24", "bgr24", "rgba", "bgra", "gray8"]
"""The format of a frame's bytes; the last five are raw pixels, row by row, 8 bits per channel."""

CHANNELS: Mapping[str, int] = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "gray8": 1}
"""The raw encodings that a sender may use, with their bytes per pixel. The last of four channels is
dropped."""

YuvEncoding = Literal["yuyv", "yvyu", "uyvy", "vyuy", "yu12", "yv12", "nv12", "nv21"]
"""Raw pixels from V4L2 cameras, without padding, by the kernel's names. Senders cannot use them."""
YUV_ENCODINGS: tuple[str, ...] = get_args(YuvEncoding)
Colours = Literal[
    "bt601", "bt601-full", "bt709", "bt709-full", "bt2020", "bt2020-full", "smpte240m", "smpte240m-full"
]
"""The conversion of a camera's YUV to RGB; without ``full``, black is 16 and white 235."""

MAGIC: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
)

OWN = ""
"""The source of the daemon's own frames, which test whether it works; no camera can have this name."""

Transform = Literal["none", "hflip", "vflip", "rotate90", "rotate180", "rotate270"]
"""The transform that makes a camera's image upright; rotations are clockwise."""

FrameId = str | int | None
"""The sender's id of a frame, returned unchanged."""


class Refusal(StrEnum):
    """Why a frame got no predictions; the values are the ``code`` of an answer on the wire."""

    BUSY = "busy"
    """The queue is full: send again later."""
    EXPIRED = "expired"
    """The frame was older than its ``ttl_ms`` when its turn came."""
    BAD_IMAGE = "bad_image"
    """The bytes are not an image that can be decoded."""
    BAD_REQUEST = "bad_request"
    """The message does not match the wire format."""
    TOO_LARGE = "too_large"
    """More bytes or pixels than the configuration allows."""
    SHUTTING_DOWN = "shutting_down"
    """The daemon is stopping."""
    INTERNAL = "internal"
    """The daemon failed; its log has the reason."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image: fractions of its width and height, from the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in an image of `width` x `height` pixels; at least one pixel.

        Pixels that are partly inside are included.
        """
        left, right = _span(self.x, self.width, width)
        top, bottom = _span(self.y, self.height, height)
        return left, top, right, bottom


@dataclass(frozen=True, slots=True)
class EncodedPacket:
    """A part of a video as the camera encoded it: a JPEG, or a packet of a stream."""

    data: bytes
    at: float
    """When it arrived (monotonic)."""
    is_key: bool
    """Whether it shows an image without the packets before it."""
    template: object = None
    """PyAV's description of its stream, one for each time that the stream is opened; None: it is a JPEG."""
    pts: int | None = None
    """When it is shown, in the unit `time_base`; None: unknown, or a JPEG."""
    dts: int | None = None
    """When it is decoded."""
    time_base: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One image on its way to the Session.

    ``captured`` and ``received`` are monotonic: capture is when the image was taken (converted from the
    sender's clock, if it was sent), receipt is when this process got it. ``deadline``, if any, is when the
    result becomes useless.
    """

    source: str
    """The frame's origin: ``zmq``, ``mqtt``, the name of a camera, or ``CAMERA.REGION``; part of its
    topic."""
    data: bytes | memoryview
    encoding: Encoding | YuvEncoding | None
    """None: an encoded image, whose first bytes determine the format."""
    received: float
    captured: float
    width: int = 0
    """Pixels per row; raw encodings only."""
    height: int = 0
    """Rows; raw encodings only."""
    deadline: float | None = None
    top_k: int | None = None
    """Number of predictions; None: as configured."""
    base_top_k: int | None = None
    """Number of predictions of the base model, besides those of a taught one; None: none."""
    id: FrameId = None
    request_id: int | None = None
    """The number under which its transport keeps the sender's address; None for a camera's frame."""
    peer: bytes = b""
    """The ZeroMQ connection, by the name that the client may choose; empty for other origins."""
    transform: Transform = "none"
    """The transform that makes the decoded image upright."""
    colours: Colours = "bt601"
    """The conversion of raw YUV to RGB."""
    region: Region | None = None
    """The part of the upright image to classify; None: all of it."""

    @property
    def sender(self) -> tuple[str, bytes]:
        """The peer, for fairness: a ZeroMQ connection, all of HTTP, or the MQTT broker.

        Includes the source, because a ZeroMQ client can choose any name.
        """
        return self.source, self.peer

    def has_expired(self, now: float) -> bool:
        """Return whether the result is useless at `now` (monotonic)."""
        return self.deadline is not None and self.deadline <= now


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class that the model recognizes, with its score."""

    index: int
    """The number of the output, from 0."""
    synset: str
    """The WordNet id (``n02510455``); empty for a model without synsets."""
    label: str
    """The first of the class's names (``giant panda``)."""
    score: float


@dataclass(frozen=True, slots=True)
class Timings:
    """The durations of one frame's steps in milliseconds."""

    queue_ms: float = 0.0
    """Waiting, for the decoder and then for the Session."""
    decode_ms: float = 0.0
    """Decoding and resizing to the model's input."""
    run_ms: float = 0.0
    """``Session.run`` alone."""
    total_ms: float = 0.0
    """From receipt to result."""
    age_ms: float = 0.0
    """From capture to result."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one frame: its predictions, or the reason why it has none."""

    source: str
    id: FrameId = None
    request_id: int | None = None
    predictions: tuple[Prediction, ...] = ()
    timings: Timings = field(default_factory=Timings)
    refusal: Refusal | None = None
    detail: str = ""
    """For a refusal: the error in one line."""
    frame: Frame | None = field(default=None, repr=False, compare=False)
    """The frame, for consumers that keep or show the image, which it holds in memory."""
    base_predictions: tuple[Prediction, ...] | None = None
    """What the base model says; None: the sender has not asked."""
    model: str = ""
    """The name of the model that ranked it; empty: the one that the daemon runs."""
    features: npt.NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    """``(n,) float32``, for those who teach from it; None: the network has none."""

    @property
    def ok(self) -> bool:
        """Whether the frame was classified."""
        return self.refusal is None

    @property
    def is_own(self) -> bool:
        """Whether this is the daemon's own probe, which is neither published nor counted."""
        return self.source == OWN

    @classmethod
    def refused(cls, frame: Frame, refusal: Refusal, detail: str) -> Result:
        """Return the result of a frame that is not classified."""
        return cls(frame.source, frame.id, frame.request_id, refusal=refusal, detail=detail, frame=frame)


def by_region(frame: Frame, regions: Mapping[str, Region]) -> tuple[Frame, ...]:
    """Return a copy of `frame` per region, as ``SOURCE.REGION`` with the same bytes; without regions,
    `frame`."""
    if not regions:
        return (frame,)
    return tuple(
        replace(frame, source=f"{frame.source}.{name}", region=region) for name, region in regions.items()
    )


def is_yuv(encoding: str | None) -> TypeGuard[YuvEncoding]:
    """Return whether `encoding` is raw YUV."""
    return encoding in YUV_ENCODINGS


def image_format(data: bytes | memoryview) -> ImageFormat | None:
    """Return the format of an encoded image by its first bytes, or None if it is unknown."""
    head = bytes(data[:12])
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "webp"
    return next((name for magic, name in MAGIC if head.startswith(magic)), None)


def _span(start: float, length: float, pixels: int) -> tuple[int, int]:
    # Rounding errors of a sum of two fractions must not add a pixel.
    tolerance = 1e-6
    first = min(math.floor(start * pixels + tolerance), pixels - 1)
    return first, min(max(math.ceil((start + length) * pixels - tolerance), first + 1), pixels)
