"""What the page is told: server-sent events, each with its name and a line of JSON.

The form is that of the HTML standard, 9.2 "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from incv3d.frames import FrameId, Prediction
from incv3d.protocol import messages
from incv3d.transports.http.webui.state import Event, LatestResult, Run

SHOWN_LABELS = 5


class ShownResult(msgspec.Struct, kw_only=True):
    """``result``: what the model says of a frame."""

    number: int
    """Pictures, at ``/picture/SOURCE``, say which result they belong to by this."""
    source: str
    id: FrameId
    """The sender's own; the page marks its uploads with it."""
    at: float
    """When it was captured: seconds since 1970."""
    predictions: list[Prediction]
    timing_ms: messages.AnswerTimings
    age_ms: float
    region: list[float] | None
    """The part of the picture that was classified: left, top, width and height, of 1."""
    has_picture: bool


def hello(host: str, events_wanted: bool, now: float) -> bytes:
    """``hello``: whom the page is of, and what its clock shows; the first message."""
    return _message("hello", {"host": host, "events_wanted": events_wanted, "now": now})


def result(shown: LatestResult) -> bytes:
    """One result."""
    found = shown.result
    region = found.frame.region if found.frame else None
    told = ShownResult(
        number=shown.number,
        source=found.source,
        id=found.id,
        at=shown.at_unix_s,
        predictions=list(found.predictions[:SHOWN_LABELS]),
        timing_ms=messages.answer_timings(found.timings),
        age_ms=round(found.timings.age_ms, 3),
        region=[region.x, region.y, region.width, region.height] if region else None,
        has_picture=found.frame is not None,
    )
    return _message("result", told)


def gone(source: str) -> bytes:
    """``gone``: a source whose results are not shown any more."""
    return _message("gone", source)


def event(shown: Event) -> bytes:
    """``event``: a label came or went, as it is published. Its thumbnail is at ``/thumbnail/NUMBER``."""
    said = msgspec.to_builtins(shown.announcement)
    return _message("event", {**said, "number": shown.number, "has_thumbnail": bool(shown.thumbnail)})


def facts(stats: dict[str, Any], now: float) -> bytes:
    """``facts``: how the daemon is, and what its clock shows."""
    return _message("facts", {**stats, "now": now})


def runs(latest: Sequence[Run]) -> bytes:
    """``runs``: those since the last such message, each as ``[seconds since 1970, ms]``."""
    return _message("runs", [[round(run.at_unix_s, 3), round(run.run_ms, 3)] for run in latest])


def _message(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
