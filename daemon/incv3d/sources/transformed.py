"""A source whose camera hangs sideways or upside down, and cannot turn its pictures itself."""

from __future__ import annotations

from dataclasses import replace

from incv3d.frames import Frame, Transform
from incv3d.sources.base import FrameSource


class TransformedSource:
    """Says of every frame of `source` that its picture is still to be turned, which its decoder does."""

    def __init__(self, source: FrameSource, transform: Transform) -> None:
        self._source = source
        self._transform = transform

    @property
    def lost_frames(self) -> int:
        """As the source counts them."""
        return self._source.lost_frames

    @property
    def idle_until(self) -> float:
        """As the source says."""
        return self._source.idle_until

    def capture(self, after: float) -> Frame | None:
        """As the source captures, see :class:`FrameSource`."""
        frame = self._source.capture(after)
        return replace(frame, transform=self._transform) if frame else None

    def interrupt(self) -> None:
        """Interrupt the source."""
        self._source.interrupt()

    def close(self) -> None:
        """Close the source."""
        self._source.close()
