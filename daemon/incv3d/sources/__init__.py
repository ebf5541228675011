"""Where frames come from: one module a source behind one protocol, each opened and watched by a Capture."""

from incv3d.sources.base import (
    FoundCamera,
    FrameSource,
    LibraryMissing,
    OpenSource,
    SourceAbsent,
    SourceError,
    SourceStatus,
)
from incv3d.sources.capture import Capture, Pace, Retry
from incv3d.sources.opening import list_cameras, source_opener

__all__ = [
    "Capture",
    "FoundCamera",
    "FrameSource",
    "LibraryMissing",
    "OpenSource",
    "Pace",
    "Retry",
    "SourceAbsent",
    "SourceError",
    "SourceStatus",
    "list_cameras",
    "source_opener",
]
