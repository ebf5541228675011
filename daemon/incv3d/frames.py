"""What crosses the walls between rooms: a :class:`Frame` goes in, a :class:`Result` comes out.

Both are plain data: no sockets, no configuration. Times without a unit suffix are seconds of
:func:`time.monotonic`; durations carry their unit (``run_ms``, ``age_ms``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, TypeGuard, get_args

PictureFormat = Literal["jpeg", "png", "webp", "bmp"]
Encoding = Literal["jpeg", "png", "webp", "bmp", "rgb24", "bgr24", "rgba", "bgra", "gray8"]
"""How the bytes of a frame are to be read; the last five are raw pixels, row by row, 8 bits a channel."""

CHANNELS: Mapping[str, int] = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "gray8": 1}
"""The raw encodings that a sender may name, and their bytes a pixel. Of four channels the last is dropped."""

YuvEncoding = Literal["yuyv", "yvyu", "uyvy", "vyuy", "yu12", "yv12", "nv12", "nv21"]
"""Raw pixels as V4L2 cameras send them, without padding, by the kernel's names. No sender may name them."""
YUV_ENCODINGS: tuple[str, ...] = get_args(YuvEncoding)
Colours = Literal[
    "bt601", "bt601-full", "bt709", "bt709-full", "bt2020", "bt2020-full", "smpte240m", "smpte240m-full"
]
"""What a camera's YUV means in RGB; not ``full``: black is 16 and white 235."""

MAGIC: tuple[tuple[bytes, PictureFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
)

OWN = ""
"""The source of frames that the daemon asks itself, to see whether it works: no camera is called so."""

Transform = Literal["none", "hflip", "vflip", "rotate90", "rotate180", "rotate270"]
"""What makes a camera's picture upright; rotations are clockwise, as a person sees them."""

FrameId = str | int | None
"""What the sender calls its frame; handed back to it untouched."""


class Refusal(StrEnum):
    """Why a frame got no predictions; the values are the ``code`` of an answer on the wire."""

    BUSY = "busy"
    """The waiting room is full: send again later."""
    EXPIRED = "expired"
    """The frame was older than its ``ttl_ms`` when its turn came."""
    BAD_IMAGE = "bad_image"
    """The bytes are not a picture that can be decoded."""
    BAD_REQUEST = "bad_request"
    """The message is not of the wire format."""
    TOO_LARGE = "too_large"
    """More bytes or pixels than the configuration admits."""
    SHUTTING_DOWN = "shutting_down"
    """The daemon is stopping."""
    INTERNAL = "internal"
    """The daemon failed at it; its own log says why."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture: fractions of its width and its height, from the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in a picture of `width` x `height` pixels; a pixel at least.

        A pixel that lies in it with a part only is in it.
        """
        left, right = _span(self.x, self.width, width)
        top, bottom = _span(self.y, self.height, height)
        return left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture on its way to the Session.

    ``captured`` and ``received`` are monotonic: capture is when the picture was taken (for a remote
    sender its own word, translated), receipt is when this process got it. ``deadline``, where there is
    one, is the moment after which nobody wants the result any more.
    """

    source: str
    """Who it came from: ``zmq``, ``mqtt``, the name of a camera, or ``CAMERA.REGION``; part of its topic."""
    data: bytes | memoryview
    encoding: Encoding | YuvEncoding | None
    """None: an encoded picture whose format its first bytes tell."""
    received: float
    captured: float
    width: int = 0
    """Pixels a row; raw encodings only."""
    height: int = 0
    """Rows; raw encodings only."""
    deadline: float | None = None
    top_k: int | None = None
    """How many predictions are wanted; None: as many as the configuration says."""
    id: FrameId = None
    ticket: int | None = None
    """The number under which its source's intake keeps the sender's address; None for a camera's frame."""
    peer: bytes = b""
    """The ZeroMQ connection that it came over, by the name that the client may choose; empty for others."""
    transform: Transform = "none"
    """What is still to be done to the decoded picture to make it upright."""
    colours: Colours = "bt601"
    """What raw YUV means."""
    region: Region | None = None
    """The part of the upright picture that is meant; None: all of it."""

    @property
    def sender(self) -> tuple[str, bytes]:
        """Who it is from, for fairness: a ZeroMQ connection, all of HTTP, or the broker.

        With the source, because a ZeroMQ client may call itself as it likes.
        """
        return self.source, self.peer

    def has_expired(self, now: float) -> bool:
        """Whether nobody wants its result any more at `now` (monotonic)."""
        return self.deadline is not None and self.deadline <= now


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class that the model sees, and how sure it is."""

    index: int
    """The output of the network, counted from 0."""
    synset: str
    """The WordNet id (``n02510455``), empty for a model without one."""
    label: str
    """The first of the class's names (``giant panda``)."""
    score: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the milliseconds of one frame went."""

    queue_ms: float = 0.0
    """Waiting: for the decoder, and decoded for the Session."""
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
    """What became of one frame: its predictions, or the reason why it has none."""

    source: str
    id: FrameId = None
    ticket: int | None = None
    predictions: tuple[Prediction, ...] = ()
    timings: Timings = field(default_factory=Timings)
    refusal: Refusal | None = None
    detail: str = ""
    """For a refusal: what is wrong, in one line."""
    frame: Frame | None = field(default=None, repr=False, compare=False)
    """What it is the result of, for those who keep or show the picture. It holds the picture in memory."""

    @property
    def ok(self) -> bool:
        """Whether the frame was classified."""
        return self.refusal is None

    @property
    def is_own(self) -> bool:
        """Whether nobody but the daemon itself wants to know it: it is neither published nor counted."""
        return self.source == OWN

    @classmethod
    def refused(cls, frame: Frame, refusal: Refusal, detail: str) -> Result:
        """The result of a frame that is not classified."""
        return cls(frame.source, frame.id, frame.ticket, refusal=refusal, detail=detail, frame=frame)


def by_region(frame: Frame, regions: Mapping[str, Region]) -> tuple[Frame, ...]:
    """`frame` once a region, as ``SOURCE.REGION`` and with the same bytes; itself if there are none."""
    if not regions:
        return (frame,)
    return tuple(
        replace(frame, source=f"{frame.source}.{name}", region=region) for name, region in regions.items()
    )


def is_yuv(encoding: str | None) -> TypeGuard[YuvEncoding]:
    """Whether `encoding` is raw YUV."""
    return encoding in YUV_ENCODINGS


def picture_format(data: bytes | memoryview) -> PictureFormat | None:
    """The format of an encoded picture as its first bytes tell; None when it is none of ours."""
    head = bytes(data[:12])
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "webp"
    return next((name for magic, name in MAGIC if head.startswith(magic)), None)


def _span(start: float, length: float, pixels: int) -> tuple[int, int]:
    # What the sum of two fractions is off by must not cost a pixel more.
    tolerance = 1e-6
    first = min(math.floor(start * pixels + tolerance), pixels - 1)
    return first, min(max(math.ceil((start + length) * pixels - tolerance), first + 1), pixels)
