"""What other threads let the main thread know, through its queue of events."""

from __future__ import annotations

from dataclasses import dataclass

from incv3d.app.reload import Reload


@dataclass(frozen=True, slots=True)
class Ready:
    """The Session is warm."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The mailbox is closed and every frame taken from it has its result."""


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """A source has no more frames."""

    name: str


@dataclass(frozen=True, slots=True)
class Died:
    """A thread cannot go on."""

    thread: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The configuration was read again; None: the old one stays."""

    reload: Reload | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Whether the source is to be passed over was said; see ``Daemon``."""


Happening = Ready | Drained | SourceEnded | Died | Reloaded | Pause
