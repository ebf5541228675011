"""What other threads let the main thread know, through its queue of events."""

from __future__ import annotations

from dataclasses import dataclass

from incv3d.app.reload import PendingReload


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The Session is warm."""


@dataclass(frozen=True, slots=True)
class QueueDrained:
    """The mailbox is closed and every frame taken from it has its result."""


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """A source has no more frames."""

    name: str


@dataclass(frozen=True, slots=True)
class ThreadDied:
    """A thread cannot go on."""

    thread: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ReloadFinished:
    """The configuration was read again; None: the old one stays."""

    reload: PendingReload | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Whether the source is to be passed over was said; see ``Daemon``."""


DaemonEvent = SessionReady | QueueDrained | SourceEnded | ThreadDied | ReloadFinished | Pause
