"""Where frames come from: one module a source behind one protocol."""

from incv3d.config import SourceSection
from incv3d.sources.base import Capture, FrameSource, SourceError
from incv3d.sources.images import ImagesSource

__all__ = ["Capture", "FrameSource", "SourceError", "open_source"]


def open_source(section: SourceSection) -> FrameSource | None:
    """The source that the configuration names; None for ``type: none``.

    :raises SourceError: when it cannot be opened.
    """
    if section.type == "images":
        return ImagesSource(section.name, section.path, section.fps, section.loop)
    return None
