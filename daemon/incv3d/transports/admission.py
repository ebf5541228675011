"""Whether a frame that somebody sent may wait for the Session: the same rules for every intake."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from incv3d.frames import Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue

RETRY_MS = 1000
"""When to try again, as long as no run has shown how long one takes."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a frame may not wait."""

    refusal: Refusal
    detail: str
    retry_ms: int | None = None
    """When to send it again."""


class Admission:
    """Puts frames in line.

    :param pace_ms: how long it takes from one result to the next, if that is known; for those told to come
        again.
    :param deliver: takes the results of frames that were let go, because nobody wants them any more, to make
        room for another.
    """

    def __init__(
        self, frame_queue: FrameQueue, pace_ms: Callable[[], float | None], deliver: Callable[[Result], None]
    ) -> None:
        self._frame_queue = frame_queue
        self._pace_ms = pace_ms
        self._deliver = deliver

    def admit(self, frame: Frame, places_kept: int = 0, others: int = 0) -> Rejection | None:
        """Put `frame` in line; returns why that cannot be, or None.

        :param places_kept: how many places must stay free.
        :param others: as of :meth:`busy`.
        """
        if frame.has_expired(frame.received):
            return Rejection(Refusal.EXPIRED, "its time to live had ended when it arrived")
        refusal = self._frame_queue.offer(frame, places_kept)
        if refusal is Refusal.BUSY and self._purge(frame.received):
            refusal = self._frame_queue.offer(frame, places_kept)
        if refusal is Refusal.BUSY:
            return self.busy(len(self._frame_queue), others)
        return Rejection(refusal, "the daemon is stopping") if refusal else None

    def busy(self, waiting: int, others: int = 0) -> Rejection:
        """Return the refusal of a frame that finds the queue full.

        :param others: how many peers will send again. The more there are, the later each of them is
            told to send, so that refusals are about as frequent as results.
        """
        pace_ms = self._pace_ms()
        retry_ms = RETRY_MS if pace_ms is None else math.ceil(pace_ms * max(1, waiting + others))
        return Rejection(Refusal.BUSY, f"{waiting} frames wait already; send it again later", retry_ms)

    def _purge(self, now: float) -> bool:
        """Whether frames that nobody wants any more could be let go to make room."""
        expired = self._frame_queue.purge(now)
        for frame in expired:
            detail = "its time to live ended before its turn"
            self._deliver(Result.refused(frame, Refusal.EXPIRED, detail))
        return bool(expired)
