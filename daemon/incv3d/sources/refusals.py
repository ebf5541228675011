"""Detect a camera whose frames arrive but are all refused."""

from __future__ import annotations

from dataclasses import dataclass

from incv3d.frames import Refusal, Result

FAULTS = (Refusal.BAD_IMAGE, Refusal.TOO_LARGE, Refusal.INTERNAL)
"""Refusals caused by the frame itself; the others depend on the load."""


@dataclass(frozen=True, slots=True)
class RefusalLimit:
    """How many consecutive frames may be refused before a camera counts as ``refused``."""

    frames: int = 3
    """A single damaged frame is normal: USB and radio lose bytes."""
    at_least_s: float = 2.0
    """They must span this time, so that a camera with some good frames does not flood the log."""


class Refusals:
    """Counts the refused frames of one camera. Not thread-safe: the owner holds a lock."""

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
        """Record the result of a frame.

        The reason stays the same as long as the kind of refusal does.

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
        """Record that a frame was classified, or was skipped as unchanged."""
        self._in_a_row = 0
        self.reason = ""
