"""An event as it is published: the JSON under the topic ``event.SOURCE``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

TOPIC = "event."
Reason = Literal["unseen", "silent", "ended", "stopping", "reloaded"]
"""Why a label has left: it is not seen any more; or nobody can see whether it is, as its source has had no
frame classified for long, has no more frames, or the daemon stops or has another configuration."""


class EventMessage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A label has entered what a source sees, or left it."""

    v: Literal[1]
    event: Literal["entered", "left"]
    source: str
    label: str
    synset: str
    score: float
    """Of the frame that showed it last."""
    at: str
    """When the frame that decided it was captured: ``2026-01-31T12:00:00.000Z``."""
    frames: int
    """``entered``: frames that it took; ``left``: all that showed it."""
    duration_s: float | None = None
    """``left``: from the first frame that showed it to the last."""
    best: float | None = None
    """``left``: its highest score."""
    reason: Reason | None = None
    """``left``: ``unseen``, or why nobody can tell any more: ``silent``, ``ended``, ``stopping``."""


def topic(source: str) -> bytes:
    """The topic under which events of `source` are published."""
    return f"{TOPIC}{source}".encode()


def precise_timestamp(unix_s: float) -> str:
    """Wall-clock time to the millisecond: ``2026-01-31T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
