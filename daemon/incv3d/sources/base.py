"""The FrameSource protocol, its errors, and how the state of a source is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from incv3d.errors import Incv3dError
from incv3d.frames import Frame


class SourceError(Incv3dError):
    """Raised when a source cannot be opened, or fails while it captures."""


class SourceAbsent(SourceError):
    """Raised when the device, file or server of a source is not there. It may appear later."""


class SourceMisnamed(SourceError):
    """Raised when the configured path is missing and is not where devices or disks appear later."""

    is_lasting = True


class LibraryMissing(SourceError):
    """Raised when the library of a source type is not installed, or cannot be loaded."""

    is_lasting = True


class FrameSource(Protocol):
    """Captures frames. One thread opens, uses and closes it; any thread may call :meth:`interrupt`."""

    @property
    def lost_frames(self) -> int:
        """How many frames the driver captured but could not deliver, by its own count."""

    @property
    def idle_until(self) -> float:
        """Until when (monotonic) :meth:`capture` waits on purpose, which is not a stall; 0.0: it does not."""

    def capture(self, after: float) -> Frame | None:
        """Wait for the next frame captured at `after` (monotonic) or later, and return it.

        Until then the source idles in the cheapest way it has.

        :param after: 0.0: return any frame.
        :returns: None if there are no more frames, or :meth:`interrupt` was called.
        :raises SourceError: capturing fails.
        """

    def interrupt(self) -> None:
        """Make a blocked :meth:`capture` return None. Callable from any thread; never blocks."""

    def close(self) -> None:
        """Release the device."""


OpenSource = Callable[[], FrameSource]
"""Opens a source; raises :class:`SourceAbsent` or another :class:`SourceError`."""

SourceState = Literal["opening", "ok", "refused", "stalled", "reopening", "absent", "ended", "asleep"]
"""``opening``: no frame has arrived yet; ``refused``: frames arrive, but all are refused; ``stalled``: frames
stopped arriving; ``reopening``: it failed and is opened again; ``absent``: it is not there, and is retried;
``ended``: it has no more frames; ``asleep``: it is closed until the hours of its key ``active``."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The state of a source, for the log and for ``stats``."""

    name: str
    state: SourceState
    reason: str
    """Why the state is not ``ok``; otherwise empty."""
    since: float
    """When the state was entered (monotonic)."""
    frames: int
    """Frames captured since the start."""
    lost_frames: int
    """Frames that the driver counted but did not deliver."""
    recoveries: int
    """How often frames arrived again after they had stopped."""
    refused_frames: int
    """Frames, or regions of frames, refused since the start."""
    hung_threads: int
    """Capture threads that were abandoned in a call that does not return."""


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera that was found, and how to configure it."""

    type: str
    name: str
    """The model name that it reports."""
    path: str
    """The device, or the index that ``source.camera`` takes."""
    formats: dict[str, list[tuple[int, int]]]
    """Sizes by pixel format, if the driver lists them; no sizes: any size within limits."""
    configuration: str
    """The line of the configuration file that makes it the daemon's source."""
