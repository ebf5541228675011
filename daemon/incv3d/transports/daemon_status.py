"""How the daemon stands at one moment, for those who show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from incv3d.machine import Readings
from incv3d.sources.base import SourceStatus

STATES = ("starting", "ready", "stopping")


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """One look at the daemon."""

    state: str
    """One of :data:`STATES`."""
    health: str
    """``ok``, or what is wrong, in one line."""
    silent_s: float
    """For how long the main thread, which looks every second, has not."""
    model: Mapping[str, str]
    """Name, engine and versions of what runs; empty while it is loaded."""
    queue_depth: int
    queue_limit: int
    undelivered: int
    """Answers that could not be sent, since the start."""
    sources: Sequence[SourceStatus]
    machine: Readings
