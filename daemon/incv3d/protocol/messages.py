"""Parse and build messages of the ZeroMQ wire format, version 1. No sockets.

A request is one of

1. one part: an encoded image (JPEG, PNG, WebP, BMP);

The answer is one part of JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from incv3d.frames import (
    CHANNELS,
    Encoding,
    Frame,
    FrameId,
    Prediction,
    Refusal,
    Result,
    Timings,
    image_format,
)

VERSION = 1
LARGEST_HEADER = 64 * 1024
LONGEST_DETAIL = 300
SOURCE = "zmq"
"""The source name of frames that arrive over ZeroMQ."""
BROKER_SOURCE = "mqtt"
"""The source name of frames that arrive over MQTT."""
HTTP_SOURCE = "http"
"""The source name of images that arrive over HTTP."""
SENT = (SOURCE, BROKER_SOURCE, HTTP_SOURCE)
"""The source names of frames sent by others, which no camera may have."""

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""Exceptions when reading untrusted JSON. UnicodeDecodeError is a ValueError, as is Python's error for a
number with too many digits."""

BY_CHANNELS: dict[int, Encoding] = {1: "gray8", 3: "bgr24", 4: "bgra"}
"""The encoding of an array by its number of channels, in the order of OpenCV and imagezmq."""
Bytes = bytes | memoryview
Operation = Literal["ping", "stats", "info", "frame"]
Side = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
TopK = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class BadRequest(Exception):
    """A message that does not match the wire format; answered with `refusal`, and its message as the
    detail."""

    def __init__(self, detail: str, id: FrameId = None, refusal: Refusal = Refusal.BAD_REQUEST) -> None:
        # It may quote the sender, and appears on terminals and in logs.
        super().__init__("".join(each if each.isprintable() else "?" for each in detail))
        self.id = id
        self.refusal = refusal


class Header(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The first part of a native request; the second part is the image's bytes."""

    v: Literal[1]
    encoding: Literal["jpeg", "png", "webp", "bmp", "rgb24", "bgr24", "rgba", "bgra", "gray8"]
    """For an encoded image, its first bytes determine the format, whatever is named here."""
    id: Annotated[str, msgspec.Meta(max_length=200)] | int | None = None
    """Returned in the answer."""
    width: Side | None = None
    """Pixels per row; required for raw encodings."""
    height: Side | None = None
    captured_at: Annotated[float, msgspec.Meta(ge=0, le=1e11)] | None = None
    """Capture time by the sender's clock, in seconds since 1970 (milliseconds are out of range)."""
    age_ms: Annotated[float, msgspec.Meta(ge=0, le=1e11)] | None = None
    """Age of the image when it is sent: an alternative to `captured_at` that needs no synchronized clocks."""
    ttl_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """The answer is useless when the image is older than this (or, if its age is unknown, this long after
    receipt)."""
    top_k: TopK | None = None
    base_top_k: TopK | None = None


class ImagezmqHeader(msgspec.Struct, kw_only=True):
    """The first part as sent by imagezmq; without a shape the second part is an encoded image."""

    msg: Any
    dtype: str | None = None
    shape: list[int] | None = None


class OperationRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A question about the daemon itself."""

    v: Literal[1]
    op: Operation
    source: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """For `frame`: the source whose latest frame is wanted."""
    after: int = 0
    """For `frame`: only one that came after the frame with this number."""
    id: Annotated[str, msgspec.Meta(max_length=200)] | int | None = None


class _OnlyId(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(max_length=200)] | int | None = None


class AnswerTimings(msgspec.Struct, kw_only=True):
    """The timings of one frame in milliseconds."""

    queue: float
    decode: float
    run: float
    total: float


class Answer(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The answer to a frame: predictions (``status`` is ``ok``) or a refusal (``status`` is ``error``)."""

    v: int
    id: FrameId
    status: Literal["ok", "error"]
    model: str | None = None
    engine: str | None = None
    predictions: list[Prediction] | None = None
    base: tuple[Prediction, ...] | None = None
    timing_ms: AnswerTimings | None = None
    age_ms: float | None = None
    code: Refusal | None = None
    detail: str | None = None
    queue_depth: int | None = None
    """Number of frames waiting in the daemon."""
    retry_ms: int | None = None
    """With the code ``busy``: the estimated time until a frame will be accepted."""


def believe(behind_s: float) -> float:
    """Return the age of an image if its sender's clock is right; if that is ahead, the age is 0."""
    return max(0.0, behind_s)


@dataclass(frozen=True, slots=True)
class Clocks:
    """One moment on both clocks: monotonic, and seconds since 1970."""

    monotonic: float
    unix: float
    age_s: Callable[[float], float] = believe
    """Returns an image's age, given how far its capture time is behind `unix`."""


@dataclass(frozen=True, slots=True)
class Request:
    """The content of a message: a frame to classify, or a question about the daemon."""

    frame: Frame | None = None
    operation: OperationRequest | None = None
    id: FrameId = None


def parse(
    parts: list[Bytes],
    now: Clocks,
    default_ttl_ms: float,
    max_bytes: int,
) -> Request:
    """Parse one request.

    :param parts: the message without its envelope.
    :param now: time of receipt.
    :param default_ttl_ms: for requests without one; 0: no limit.
    :param max_bytes: larger images are rejected.
    :raises BadRequest: the message is invalid; the text is for the sender.
    """
    if len(parts) == 1:
        if bytes(parts[0][:1]) == b"{":
            return _operation(parts[0])
        return Request(_frame(parts[0], None, now, default_ttl_ms, max_bytes))
    if not parts:
        raise BadRequest("an empty message")
    if len(parts) == 2:
        return _two_parts(parts[0], parts[1], now, default_ttl_ms, max_bytes)
    raise BadRequest(too_many_parts(len(parts)))


def too_many_parts(count: int) -> str:
    """Return the error for a request with `count` parts."""
    return f"a request must have one or two parts, not {count}"


def answer(result: Result, model: str, engine: str, queue_depth: int) -> bytes:
    """Return the JSON for `result`."""
    if result.refusal:
        return refuse(result.refusal, result.detail, result.id, queue_depth)
    return msgspec.json.encode(
        Answer(
            v=VERSION,
            id=result.id,
            status="ok",
            model=result.model or model,
            engine=engine,
            predictions=list(result.predictions),
            base=result.base_predictions,
            timing_ms=answer_timings(result.timings),
            age_ms=round(result.timings.age_ms, 3),
        )
    )


def answer_timings(timings: Timings) -> AnswerTimings:
    """Return the timings of a result in the form of an answer."""
    return AnswerTimings(
        queue=round(timings.queue_ms, 3),
        decode=round(timings.decode_ms, 3),
        run=round(timings.run_ms, 3),
        total=round(timings.total_ms, 3),
    )


def refuse(
    refusal: Refusal, detail: str, id: FrameId, queue_depth: int, retry_ms: int | None = None
) -> bytes:
    """Return the JSON of an error answer."""
    if len(detail) > LONGEST_DETAIL:
        detail = detail[: LONGEST_DETAIL - 1] + "…"
    return msgspec.json.encode(
        Answer(
            v=VERSION,
            id=id,
            status="error",
            code=refusal,
            detail=detail,
            queue_depth=queue_depth,
            retry_ms=retry_ms,
        )
    )


def report(operation: Operation, id: FrameId, facts: dict[str, Any]) -> bytes:
    """Return the JSON that answers `operation`."""
    return msgspec.json.encode({"v": VERSION, "id": id, "status": "ok", "op": operation, **facts})


def topic(source: str) -> bytes:
    """Return the topic for results of `source`."""
    return f"result.{source}".encode()


def _operation(part: Bytes) -> Request:
    _check_header_size(part)
    try:
        request = msgspec.json.decode(part, type=OperationRequest)
    except UNREADABLE as error:
        raise BadRequest(f"not an operation: {explain(error)}", _id_of(part)) from None
    return Request(operation=request, id=request.id)


def _two_parts(first: Bytes, data: Bytes, now: Clocks, default_ttl_ms: float, max_bytes: int) -> Request:
    _check_header_size(first)
    try:
        header = _header(first)
    except UNREADABLE as error:
        raise BadRequest(f"bad header: {explain(error)}", _id_of(first)) from None
    if header.encoding in CHANNELS and not (header.width and header.height):
        raise BadRequest(f"{header.encoding} needs width and height", header.id)
    if header.age_ms is not None and header.captured_at is not None:
        raise BadRequest("age_ms and captured_at exclude each other; send one of them", header.id)
    return Request(_frame(data, header, now, default_ttl_ms, max_bytes), id=header.id)


def _header(part: Bytes) -> Header:
    try:
        return msgspec.json.decode(part, type=Header)
    except UNREADABLE:
        keys = msgspec.json.decode(part, type=dict[str, msgspec.Raw])
        if "msg" not in keys or "v" in keys:
            raise
        return _from_imagezmq(msgspec.json.decode(part, type=ImagezmqHeader))


def _from_imagezmq(sent: ImagezmqHeader) -> Header:
    name = sent.msg[:200] if isinstance(sent.msg, str) else str(sent.msg)[:200]
    if sent.shape is None:
        return Header(v=1, id=name, encoding="jpeg")
    channels = sent.shape[2] if len(sent.shape) == 3 else 1
    encoding = BY_CHANNELS.get(channels)
    if sent.dtype != "uint8" or len(sent.shape) not in (2, 3) or encoding is None:
        found = f"{sent.dtype} {sent.shape[:4]}"
        raise BadRequest(f"pixels must be uint8, gray, BGR or BGRA, not {found}", name)
    height, width = sent.shape[:2]
    if not (1 <= height <= 65_535 and 1 <= width <= 65_535):
        raise BadRequest(f"an image cannot have {width}x{height} pixels", name)
    return Header(v=1, id=name, encoding=encoding, width=width, height=height)


def _frame(data: Bytes, header: Header | None, now: Clocks, default_ttl_ms: float, max_bytes: int) -> Frame:
    id = header.id if header else None
    if len(data) > max_bytes:
        raise BadRequest(f"{len(data)} bytes; the limit is {max_bytes}", id, Refusal.TOO_LARGE)
    if not len(data):
        raise BadRequest("an empty image", id)
    captured = now.monotonic
    if header and header.age_ms is not None:
        captured -= header.age_ms / 1000
    elif header and header.captured_at is not None:
        captured -= now.age_s(now.unix - header.captured_at)
    ttl_ms = (header and header.ttl_ms) or default_ttl_ms
    encoding: Encoding | None = header.encoding if header else None
    pixels = header if header and encoding in CHANNELS else None
    if encoding and not pixels:
        encoding = image_format(data) or encoding
    return Frame(
        source=SOURCE,
        data=data,
        encoding=encoding,
        received=now.monotonic,
        captured=captured,
        width=(pixels and pixels.width) or 0,
        height=(pixels and pixels.height) or 0,
        deadline=captured + ttl_ms / 1000 if ttl_ms else None,
        top_k=header.top_k if header else None,
        base_top_k=header.base_top_k if header else None,
        id=id,
    )


def _check_header_size(part: Bytes) -> None:
    if len(part) > LARGEST_HEADER:
        raise BadRequest(f"a header of {len(part)} bytes; the limit is {LARGEST_HEADER}")


def _id_of(part: Bytes) -> FrameId:
    """Return the id in a header that is otherwise invalid, so that the sender can tell which frame it was."""

    try:
        return msgspec.json.decode(part, type=_OnlyId).id
    except UNREADABLE:
        return None


def explain(error: Exception) -> str:
    """Return the decoder's error in the words of the wire format."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error).replace(" - at `$.", " at `").replace("Object contains unknown field", "unknown key")
