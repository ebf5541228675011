"""Admission control shared by all transports: queue a frame, or reject it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from incv3d.frames import Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue

RETRY_MS = 1000
"""When to try again, until the first run shows how long a run takes."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request was rejected."""

    refusal: Refusal
    detail: str
    retry_ms: int | None = None
    """When to send it again, counted from now."""


class Admission:
    """Queue frames.

    :param interval_ms: returns the time between two results, if it is known, to tell when to try again.
    :param deliver: called with the results of expired frames, which are dropped to make room for another.
    """

    def __init__(
        self,
        frame_queue: FrameQueue,
        interval_ms: Callable[[], float | None],
        deliver: Callable[[Result], None],
    ) -> None:
        self._frame_queue = frame_queue
        self._interval_ms = interval_ms
        self._deliver = deliver

    def admit(self, frame: Frame, places_kept: int = 0, others: int = 0) -> Rejection | None:
        """Queue `frame`; return None, or why it was rejected.

        :param places_kept: how many places in the queue must stay free.
        :param others: as for :meth:`busy`.
        """
        if frame.has_expired(frame.received):
            return Rejection(Refusal.EXPIRED, "it was older than its time to live when it arrived")
        refusal = self._frame_queue.offer(frame, places_kept)
        if refusal is Refusal.BUSY and self._purge(frame.received):
            refusal = self._frame_queue.offer(frame, places_kept)
        if refusal is Refusal.BUSY:
            return self.busy(len(self._frame_queue), others)
        return Rejection(refusal, "the daemon is stopping") if refusal else None

    def busy(self, waiting: int, others: int = 0) -> Rejection:
        """Return the rejection for a full queue.

        :param waiting: how many frames wait.
        :param others: how many other peers will try again. The more there are, the later each of them should,
            so that there are about as many rejections as results.
        """
        interval_ms = self._interval_ms()
        retry_ms = RETRY_MS if interval_ms is None else math.ceil(interval_ms * max(1, waiting + others))
        return Rejection(Refusal.BUSY, f"{waiting} frames wait already; send it again later", retry_ms)

    def _purge(self, now: float) -> bool:
        """Drop expired frames; return whether there were any."""
        expired = self._frame_queue.purge(now)
        for frame in expired:
            detail = "its time to live ended before its turn"
            self._deliver(Result.refused(frame, Refusal.EXPIRED, detail))
        return bool(expired)
