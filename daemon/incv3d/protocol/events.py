"""Define published events: the JSON under the topic ``event.SOURCE``."""

from __future__ import annotations

from typing import Literal

import msgspec

TOPIC = "event."
Reason = Literal["unseen", "silent", "ended", "asleep", "stopping", "reloaded"]
"""Why a label has left: it is no longer seen; or that is unknown, because its source has had no classified
frame for a while, has no more frames or is asleep, or because the daemon stops or has a new configuration."""


class EventMessage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A label has entered the view of a source, or left it."""

    v: Literal[1]
    event: Literal["entered", "left"]
    source: str
    label: str
    synset: str
    score: float
    """The score in the last frame that showed it."""
    at: str
    """The capture time of the deciding frame: ``2026-01-31T12:00:00.000Z``."""
    frames: int
    """``entered``: number of frames needed; ``left``: number of all frames that showed it."""
    duration_s: float | None = None
    """``left``: time from the first frame that showed it to the last."""
    best: float | None = None
    """``left``: the highest score."""
    reason: Reason | None = None
    """``left``: ``unseen``, or why it is unknown; see :data:`Reason`."""


def topic(source: str) -> bytes:
    """Return the topic for events of `source`."""
    return f"{TOPIC}{source}".encode()
