"""The ``FrameSource`` protocol: what every source offers, and how it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from incv3d.errors import Incv3dError
from incv3d.frames import Frame


class SourceError(Incv3dError):
    """A source cannot be opened, or gives no more frames."""


class SourceAbsent(SourceError):
    """What the source would be opened on is not there: no such device, file or server."""


class SourceMisnamed(SourceError):
    """What the configuration names as a source is not there, and will hardly come by itself."""

    is_lasting = True


class LibraryMissing(SourceError):
    """The library that a source needs is not installed, or cannot be loaded."""

    is_lasting = True


class FrameSource(Protocol):
    """Something that captures frames. Opened, used and closed by one thread, all but :meth:`interrupt`."""

    @property
    def lost_frames(self) -> int:
        """Frames that the driver took but could not hand over, by its own count."""

    @property
    def idle_until(self) -> float:
        """Until when (monotonic) :meth:`capture` waits on purpose, which is no stall; 0.0: it does not."""

    def capture(self, after: float) -> Frame | None:
        """Wait for the next frame taken at the moment `after` (monotonic) or later; 0.0: any.

        Until then the source idles, in whatever way costs it least.

        :returns: None when there are no more frames, or :meth:`interrupt` was called.
        :raises SourceError: when capturing fails.
        """

    def interrupt(self) -> None:
        """Let a :meth:`capture` that waits return None. Callable from any thread; never waits."""

    def close(self) -> None:
        """Let go of the device."""


OpenSource = Callable[[], FrameSource]
"""Opens a source; raises :class:`SourceAbsent` or another :class:`SourceError`."""

SourceState = Literal["opening", "ok", "refused", "stalled", "reopening", "absent", "ended"]
"""``opening``: no frame has come yet; ``refused``: frames come, and all are refused; ``stalled``: frames
stopped coming; ``reopening``: it is closed and tried again; ``absent``: it is not there, and is looked for;
``ended``: it had no more frames."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is, for the log and for ``stats``."""

    name: str
    state: SourceState
    reason: str
    """Why it is not ``ok``; empty when it is."""
    since: float
    """When it came to be so (monotonic)."""
    frames: int
    """Frames captured since the start."""
    lost_frames: int
    """Frames that the driver counted and did not hand over."""
    recoveries: int
    """How often frames came again after they had stopped."""
    refused_frames: int
    """Frames, or regions of them, that were refused since the start."""
    hung_threads: int
    """Capture threads that were left behind in a call that does not return."""


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera that is there, and how to name it in the configuration."""

    type: str
    name: str
    """What it calls itself."""
    path: str
    """The device, or the index that ``source.camera`` takes."""
    formats: dict[str, list[tuple[int, int]]]
    """Sizes by format, where they can be asked for; no sizes: any within limits."""
    configuration: str
    """The line that makes it the daemon's source."""
