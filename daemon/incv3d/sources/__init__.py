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
from incv3d.sources.factory import list_cameras, source_opener
from incv3d.sources.supervisor import Capture, Pace, Retry

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
