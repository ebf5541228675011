"""Hand on what a camera encoded, before anything is decoded or dropped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

from incv3d.frames import EncodedPacket, Frame
from incv3d.sources.base import FrameSource, OpenSource

Record = Callable[[str, EncodedPacket], None]
"""Called with the name of a source and each packet that its camera encoded, in the thread that captures."""
JPEG_MAGIC = b"\xff\xd8\xff"


@runtime_checkable
class PacketSource(Protocol):
    """A source that reads packets, more than it returns as frames, and hands them on itself."""

    record: Callable[[EncodedPacket], None] | None


def recorded_opener(open_source: OpenSource, name: str, record: Record) -> OpenSource:
    """Wrap `open_source` so that all packets of the camera are handed on; raw pixels are not."""

    def open_recorded() -> FrameSource:
        source = open_source()
        if isinstance(source, PacketSource):
            source.record = partial(record, name)
            return source
        return RecordedSource(source, partial(record, name))

    return open_recorded


class RecordedSource:
    """Hands on the JPEGs of a source that captures them one by one."""

    def __init__(self, source: FrameSource, record: Callable[[EncodedPacket], None]) -> None:
        self._source = source
        self._record = record

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
        if frame and not frame.width and bytes(frame.data[:3]) == JPEG_MAGIC:
            self._record(EncodedPacket(bytes(frame.data), frame.captured, is_key=True))
        return frame

    def interrupt(self) -> None:
        """Interrupt the source."""
        self._source.interrupt()

    def close(self) -> None:
        """Close the source."""
        self._source.close()
