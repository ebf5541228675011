"""Server-sent event messages for the web UI, each with its name and a line of JSON.

Their format is that of the HTML standard, 9.2 "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from incv3d.frames import FrameId, Prediction
from incv3d.protocol import messages
from incv3d.transports.http.webui.state import Event, LatestResult, Run
from incv3d.transports.teaching import TeachingStatus

SHOWN_LABELS = 5


class ShownResult(msgspec.Struct, kw_only=True):
    """``result``: the predictions for a frame."""

    number: int
    """Images at ``/picture/SOURCE`` name their result by this number."""
    source: str
    id: FrameId
    """The sender's own; the page marks its uploads with it."""
    at: float
    """When the frame was captured, in seconds since 1970."""
    predictions: list[Prediction]
    timing_ms: messages.AnswerTimings
    age_ms: float
    region: list[float] | None
    """The part of the image that was classified: left, top, width and height, as fractions."""
    has_picture: bool


def hello(host: str, events_wanted: bool, now: float) -> bytes:
    """Return ``hello``, the first message: the host, and the time of its clock."""
    return _message("hello", {"host": host, "events_wanted": events_wanted, "now": now})


def result(shown: LatestResult) -> bytes:
    """Return ``result``: the latest result of a source."""
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
    """Return ``gone``: a source whose results are not shown any more."""
    return _message("gone", source)


def event(shown: Event) -> bytes:
    """Return ``event``: a label has entered or left. Its thumbnail is at ``/thumbnail/NUMBER``."""
    said = msgspec.to_builtins(shown.announcement)
    return _message("event", {**said, "number": shown.number, "has_thumbnail": bool(shown.thumbnail)})


def facts(stats: dict[str, Any], now: float) -> bytes:
    """Return ``facts``: the daemon's statistics, and the time of its clock."""
    return _message("facts", {**stats, "now": now})


def teaching(status: TeachingStatus) -> bytes:
    """Return ``teaching``: the state of the teaching set and of the training."""
    return _message("teaching", status)


def runs(latest: Sequence[Run]) -> bytes:
    """Return ``runs``: those since the last such message, each as ``[seconds since 1970, ms]``."""
    return _message("runs", [[round(run.at_unix_s, 3), round(run.run_ms, 3)] for run in latest])


def _message(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
