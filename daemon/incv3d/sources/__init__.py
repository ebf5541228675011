"""Frame sources: cameras, streams and image files, one file per type, kept open by a supervisor."""

from incv3d.sources.base import (
    CameraInfo,
    FrameSource,
    LibraryMissing,
    OpenSource,
    SourceAbsent,
    SourceError,
    SourceStatus,
)
from incv3d.sources.factory import list_cameras, source_opener, source_openers
from incv3d.sources.supervisor import CaptureSchedule, Retry, SourceSupervisor

__all__ = [
    "CameraInfo",
    "CaptureSchedule",
    "FrameSource",
    "LibraryMissing",
    "OpenSource",
    "Retry",
    "SourceAbsent",
    "SourceError",
    "SourceStatus",
    "SourceSupervisor",
    "list_cameras",
    "source_opener",
    "source_openers",
]
