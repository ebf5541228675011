"""Define a visit: a label was in view of a source for a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Visit:
    """A label was in view of a source, from the event ``entered`` to the event ``left``."""

    source: str
    label: str
    synset: str
    entered_ms: int
    """When it entered, in milliseconds since 1970."""
    best: float
    """The highest score."""
    duration_s: float | None = None
    """How long it was seen; None: it is still there."""
    reason: str = ""
    """Why it left, as in :data:`incv3d.protocol.events.Reason`; ``lost``: the daemon ended without a word."""
    image: str = ""
    """The name of the saved image; empty: none was saved."""
