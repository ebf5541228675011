"""A camera whose frames come, and are refused one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from incv3d.frames import Refusal, Result

FAULTS = (Refusal.BAD_IMAGE, Refusal.TOO_LARGE, Refusal.INTERNAL)
"""The refusals that say something about a frame; the others say that it came at a bad time."""


@dataclass(frozen=True, slots=True)
class RefusalLimit:
    """How many frames in a row may be refused before a camera is said to be ``refused``."""

    frames: int = 3
    """A single damaged frame is no news: USB and radio lose bytes."""
    at_least_s: float = 2.0
    """So long they must have been refused, so that a camera that gives some good frames fills no log."""


class Refusals:
    """Counts the frames of one camera that are refused. Not locked: its owner is."""

    def __init__(self, regions: int, limit: RefusalLimit) -> None:
        self._most = limit.frames * max(1, regions)
        self._at_least_s = limit.at_least_s
        self._in_a_row = 0
        self._since = 0.0
        self._kind: Refusal | None = None
        self.total = 0
        """Frames, or regions of them, that were refused since the start."""
        self.reason = ""
        """Why the camera's frames are refused; empty while some are accepted."""

    def count(self, result: Result, now: float) -> None:
        """Take note of what became of a frame.

        While the kind of refusal stays the same, so does the reason.

        :param now: monotonic.
        """
        if result.refusal is None:
            self.accept()
            return
        if result.refusal not in FAULTS:
            return
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            self._since = now
        is_enough = self._in_a_row >= self._most and now - self._since >= self._at_least_s
        if is_enough and (not self.reason or result.refusal != self._kind):
            self._kind = result.refusal
            self.reason = f"{result.refusal}: {result.detail}"

    def accept(self) -> None:
        """A frame was classified, or found to be like the one before."""
        self._in_a_row = 0
        self.reason = ""
