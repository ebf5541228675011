"""Keep the latest frame of a source while it is asked for."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from incv3d.clock import unix_time
from incv3d.frames import Frame, Result

ASKED_S = 10.0
"""A source that was not asked for within this time is forgotten, with its frame."""
LARGEST_BYTES = 16 * 1024 * 1024
"""A larger frame is not kept: its answer would hold up the thread that receives requests."""


@dataclass(frozen=True, slots=True)
class NumberedFrame:
    """A frame that was classified."""

    number: int
    """Counts the frames of all sources that were kept."""
    at_unix_s: float
    """When it was captured."""
    frame: Frame


class LatestFrames:
    """The latest classified frame of each source that is asked for. Any thread may call it.

    Without anybody who asks, a result costs one look into an empty dictionary.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}
        self._latest: dict[str, NumberedFrame] = {}
        self._count = 0

    def offer(self, result: Result, is_accepted: bool = True) -> None:
        """Keep the frame of `result` if its source is asked for."""
        if not self._asked:
            return
        now = time.monotonic()
        frame = result.frame
        with self._lock:
            for source in [each for each, at in self._asked.items() if now - at > ASKED_S]:
                del self._asked[source]
                self._latest.pop(source, None)
            if result.source in self._asked and result.ok and frame and len(frame.data) <= LARGEST_BYTES:
                self._count += 1
                taken = unix_time(frame.captured)
                self._latest[result.source] = NumberedFrame(self._count, taken, frame)

    @property
    def number(self) -> int:
        """The number of the latest frame that was kept, of any source."""
        return self._count

    def after(self, source: str, number: int) -> NumberedFrame | None:
        """Return the latest frame of `source` if it came after the one with that number; None: not yet.

        Ask again: frames are only kept for a source that is asked for.
        """
        with self._lock:
            self._asked[source] = time.monotonic()
            found = self._latest.get(source)
        return found if found and found.number > number else None
