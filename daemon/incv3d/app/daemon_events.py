"""The events that other threads put into the queue of the main thread."""

from __future__ import annotations

from dataclasses import dataclass

from incv3d.app.reload import PendingReload
from incv3d.app.tuning_conversion import ConversionOutcome


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The Session is warm."""


@dataclass(frozen=True, slots=True)
class QueueDrained:
    """The frame queue is closed, and every frame taken from it has its result."""


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """A source has no more frames."""

    name: str


@dataclass(frozen=True, slots=True)
class ThreadDied:
    """A thread has ended with an exception."""

    thread: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ReloadFinished:
    """The configuration was read again; None: the old one stays in force."""

    reload: PendingReload | None


@dataclass(frozen=True, slots=True)
class Pause:
    """A transport has asked to pause or resume classifying camera frames; ``Daemon`` knows which."""


@dataclass(frozen=True, slots=True)
class Taught:
    """A taught model has a new head, or is to be used from now on."""


DaemonEvent = (
    SessionReady
    | QueueDrained
    | SourceEnded
    | ThreadDied
    | ReloadFinished
    | Pause
    | Taught
    | ConversionOutcome
)
