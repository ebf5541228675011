"""Rotate or flip the frames of a source whose camera cannot do so itself."""

from __future__ import annotations

from dataclasses import replace

from incv3d.frames import Frame, Transform
from incv3d.sources.base import FrameSource


class TransformedSource:
    """Marks every frame of `source` to be rotated or flipped by its decoder."""

    def __init__(self, source: FrameSource, transform: Transform) -> None:
        self._source = source
        self._transform = transform

    @property
    def lost_frames(self) -> int:
        """The count of the source."""
        return self._source.lost_frames

    @property
    def idle_until(self) -> float:
        """The value that the source reports."""
        return self._source.idle_until

    def capture(self, after: float) -> Frame | None:
        """Capture from the source, see :class:`FrameSource`."""
        frame = self._source.capture(after)
        return replace(frame, transform=self._transform) if frame else None

    def interrupt(self) -> None:
        """Interrupt the source."""
        self._source.interrupt()

    def close(self) -> None:
        """Close the source."""
        self._source.close()
