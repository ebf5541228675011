"""Capture from a source in a thread, and reopen the source when it hangs, fails or disappears."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from incv3d.clock import back_off_s
from incv3d.frames import Frame, Region, Result, by_region
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources.base import FrameSource, OpenSource, SourceAbsent, SourceError, SourceState, SourceStatus
from incv3d.sources.refusals import RefusalLimit, Refusals
from incv3d.threads import OnDeath, start_thread

LOG = logging.getLogger(__name__)
MOST_HUNG_THREADS = 3
"""The most threads that may be blocked in calls that do not return; each holds its stack and buffers."""


@dataclass(frozen=True, slots=True)
class CaptureSchedule:
    """How often to capture a frame, and how long it may take."""

    interval_s: float = 0.0
    """Seconds between two frames; 0: as they arrive."""
    every_frame: bool = False
    """Wait until a frame is taken from the queue before capturing the next, so that none is dropped."""
    stall_timeout_s: float = 10.0
    """A source that delivers no frame for this long is reopened."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off with jitter: `first_s`, doubled after each consecutive failure."""

    first_s: float = 0.5
    most_s: float = 30.0
    most_absent_s: float = 5.0
    """The limit for a source that is absent: checking is cheap, and a user who plugs it in is waiting."""
    opening_s: float = 20.0
    """How much longer than a frame opening may take, because it loads libraries, slowly on a Pi."""
    interrupt_s: float = 2.0
    """How long a stalled capture has to return before its thread is abandoned."""

    def delay_s(self, failures: int, absent: bool) -> float:
        """Return how long to wait after the given number of consecutive failures, at least one."""
        most_s = self.most_absent_s if absent else self.most_s
        return back_off_s(failures, self.first_s, most_s)


class _Attempt:
    """One capture thread: opens the source and captures until it fails, ends or is stopped."""

    def __init__(self, awaited_since: float) -> None:
        self.source: FrameSource | None = None
        self.step: Literal["opening", "capturing", "closing"] = "opening"
        self.awaited_since = awaited_since
        """Since when the next frame is due; in the future while the source opens or idles."""
        self.first_frame: float | None = None
        self.lost_frames = 0
        self.ended = False
        self.error: Exception | None = None
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()
        if self.source:
            self.source.interrupt()


class SourceSupervisor:
    """Keeps one source open and puts its frames into the queue, where each replaces the previous one.

    A watching thread starts a capture thread, which opens the source. If that raises, ends too early or
    delivers no frame in time, the source is closed and opened again, without limit. A capture thread that
    does not return is abandoned with its source, its late frames are ignored, and a new one takes over.

    :param open_source: called in the capture thread, once per attempt.
    :param on_dropped: called for every frame, or region of one, that is replaced before it is classified.
    :param on_end: called with the source's name when it has no more frames.
    :param on_death: called with the thread's name and the error when the watching thread dies.
    :param regions: parts of the image by name; each has its own place in the queue.
    :param refusal_limit: how many frames may be refused before the source counts as ``refused``.
    """

    def __init__(
        self,
        name: str,
        open_source: OpenSource,
        frame_queue: FrameQueue,
        schedule: CaptureSchedule,
        on_dropped: Callable[[], None],
        on_end: Callable[[str], None],
        on_death: OnDeath,
        retry: Retry | None = None,
        regions: Mapping[str, Region] | None = None,
        refusal_limit: RefusalLimit | None = None,
    ) -> None:
        self._name = name
        self._open_source = open_source
        self._frame_queue = frame_queue
        self._schedule = schedule
        self._on_dropped = on_dropped
        self._on_end = on_end
        self._on_death = on_death
        self._retry = retry or Retry()
        self._regions = regions or {}
        self.sources = frozenset(f"{name}.{region}" for region in self._regions) or frozenset({name})
        """The source names of its frames."""
        self._refusals = Refusals(len(self._regions), refusal_limit or RefusalLimit())
        self._changed = threading.Condition(threading.RLock())
        self._attempt: _Attempt | None = None
        self._hung: list[_Attempt] = []
        self._closed = False
        self._paused = False
        self._discarded: Frame | None = None  # the latest, while paused
        self._state: SourceState = "opening"
        self._reason = ""
        self._since = self._trouble_since = time.monotonic()
        self._frames = 0
        self._lost_before = 0
        self._recoveries = 0

    def start(self) -> None:
        """Start to capture. A source that is not there is retried."""
        start_thread(f"watch-{self._name}", self._watch, self._on_death)

    def close(self) -> None:
        """Stop capturing, without waiting for the source."""
        with self._changed:
            self._closed = True
            if self._attempt:
                self._attempt.stop()
            self._changed.notify_all()

    def pause(self, paused: bool) -> None:
        """Discard frames, or stop discarding them. The source stays open; video files stand still."""
        with self._changed:
            self._paused, self._discarded = paused, None
            self._changed.notify_all()

    @property
    def discarded(self) -> Frame | None:
        """Return the latest frame, if it was discarded because the source is paused."""
        return self._discarded

    def wait_until_closed(self, timeout_s: float) -> bool:
        """Wait until a closed capture has released its source; return False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._attempt is None or self._attempt.ended, timeout_s)

    def status(self) -> SourceStatus:
        """Return the state of the source."""
        with self._changed:
            return SourceStatus(
                self._name,
                self._state,
                self._reason,
                self._since,
                self._frames,
                self._lost_before + (self._attempt.lost_frames if self._attempt else 0),
                self._recoveries,
                self._refusals.total,
                len(self._hung),
            )

    def judge(self, result: Result) -> None:
        """Record the result of a frame of this source, or of a region. Callable from any thread."""
        with self._changed:
            self._refusals.count(result, time.monotonic())
            if self._state in ("ok", "refused"):
                self._set_state_of_frames()

    def accept(self) -> None:
        """Record that a frame was skipped as unchanged. Callable from any thread."""
        with self._changed:
            self._refusals.accept()
            if self._state == "refused":
                self._set_state_of_frames()

    def _set_state_of_frames(self) -> None:
        """Set the state to ``refused`` or ``ok``, since frames arrive."""
        reason = self._refusals.reason
        self._set_state("refused" if reason else "ok", reason)

    def _watch(self) -> None:
        failures = 0
        number = 0
        while self._may_begin():
            number += 1
            attempt = self._begin(number)
            self._wait_for_end(attempt)
            with self._changed:
                if self._closed:
                    return
                if attempt.ended and not attempt.error and not attempt.stopped.is_set():
                    self._set_state("ended", "it has no more frames")
                    break
                lasted_s = time.monotonic() - (attempt.first_frame or math.inf)
                failures = 1 if lasted_s > self._retry.most_s else failures + 1
                self._report(attempt)
                absent = isinstance(attempt.error, SourceAbsent)
                self._changed.wait_for(lambda: self._closed, self._retry.delay_s(failures, absent))
        if self._state == "ended":
            self._on_end(self._name)

    def _may_begin(self) -> bool:
        """Wait while too many threads hang; return False once the capture is closed."""
        with self._changed:
            if len(self._hung) >= MOST_HUNG_THREADS:
                advice = "replug it, or restart incv3d"
                self._set_state("stalled", f"{len(self._hung)} calls do not return: {advice}")
            self._changed.wait_for(lambda: self._closed or len(self._hung) < MOST_HUNG_THREADS)
            return not self._closed

    def _begin(self, number: int) -> _Attempt:
        with self._changed:
            if self._attempt:
                self._lost_before += self._attempt.lost_frames
            if self._state == "stalled":
                self._set_state("reopening", self._reason)
            attempt = self._attempt = _Attempt(time.monotonic() + self._retry.opening_s)
        thread = threading.Thread(
            target=self._capture, args=(attempt,), name=f"capture-{self._name}-{number}", daemon=True
        )
        thread.start()
        return attempt

    def _wait_for_end(self, attempt: _Attempt) -> None:
        """Wait until the attempt ends or the capture is closed; abandon an attempt that hangs."""
        with self._changed:
            while not (attempt.ended or self._closed):
                idle_until = attempt.source.idle_until if attempt.source else 0.0
                awaited_since = max(attempt.awaited_since, idle_until)
                left_s = awaited_since + self._schedule.stall_timeout_s - time.monotonic()
                if left_s > 0:
                    # The deadline may move without notice: an idle source begins to close, or a frame is
                    # taken from the queue. Waits longer than 3600 s overflow the lock's clock.
                    self._changed.wait(min(left_s, self._schedule.stall_timeout_s, 3600.0))
                    continue
                longest_s = self._schedule.stall_timeout_s
                reason = f"no frame for {longest_s:g} s"
                if attempt.step != "capturing":
                    longest_s += self._retry.opening_s if attempt.step == "opening" else 0.0
                    reason = f"{attempt.step} takes longer than {longest_s:g} s"
                if self._state in ("opening", "ok", "refused"):
                    self._set_state("stalled", reason)
                attempt.error = SourceError(reason)
                attempt.stop()
                if not self._changed.wait_for(lambda: attempt.ended or self._closed, self._retry.interrupt_s):
                    self._hung.append(attempt)
                return

    def _report(self, attempt: _Attempt) -> None:
        error = attempt.error
        if self._state == "stalled":
            return
        if isinstance(error, SourceAbsent):
            self._set_state("absent", str(error))
        elif isinstance(error, SourceError):
            self._set_state("reopening", str(error))
        elif self._set_state("reopening", repr(error)):
            # An unexpected error, so that its traceback is of use.
            LOG.error("source %s failed", self._name, exc_info=error)

    def _set_state(self, state: SourceState, reason: str) -> bool:
        """Set and log the state, unless it is the same as before; return whether it has changed."""
        if (state, reason) == (self._state, self._reason):
            return False
        now = time.monotonic()
        if state == "ok" and self._reason:
            self._recoveries += self._frames > 1 and self._state != "refused"
            LOG.info("source %s: ok after %.1f s", self._name, now - self._trouble_since)
        elif state == "ok":
            LOG.info("source %s: ok", self._name)
        elif state != "ended":
            LOG.warning("source %s: %s: %s", self._name, state, reason)
        if self._state in ("opening", "ok") and state != "ok":
            self._trouble_since = now
        if state != self._state:
            self._since = now
        self._state, self._reason = state, reason
        return True

    def _capture(self, attempt: _Attempt) -> None:
        error: Exception | None = None
        try:
            source = self._open_source()
            try:
                self._move_frames(attempt, source)
            finally:
                with self._changed:
                    attempt.source = None  # nothing may interrupt a closed source
                    attempt.step = "closing"
                    attempt.awaited_since = time.monotonic()
                source.close()
        except Exception as caught:  # noqa: BLE001 - whatever a camera's library raises, the source is reopened
            error = caught
        with self._changed:
            attempt.ended = True
            self._discarded = None  # it shows nothing of now
            attempt.error = attempt.error or error
            if attempt in self._hung:
                self._hung.remove(attempt)
            self._changed.notify_all()

    def _move_frames(self, attempt: _Attempt, source: FrameSource) -> None:
        with self._changed:
            attempt.source = source
            attempt.step = "capturing"
            attempt.awaited_since = time.monotonic()
        due = 0.0
        while not attempt.stopped.is_set() and (frame := source.capture(due)) is not None:
            self._hand_over(attempt, frame, source.lost_frames)
            now = time.monotonic()
            if self._schedule.interval_s:
                # At a fixed rate; a missed frame is not made up for.
                due = max(due + self._schedule.interval_s, now) if due else now + self._schedule.interval_s
            attempt.awaited_since = max(now, due)

    def _hand_over(self, attempt: _Attempt, frame: Frame, lost_frames: int) -> None:
        """Put `frame` into the queue, unless the attempt is stopped; wait until it is taken if required."""
        with self._changed:
            self._discarded = frame if self._paused else None
            if self._schedule.every_frame and self._paused:
                attempt.awaited_since = math.inf
                self._changed.wait_for(lambda: not self._paused or attempt.stopped.is_set())
            # A camera's frames are read and discarded meanwhile, so that none is stale on resuming.
            parts = () if self._paused else by_region(frame, self._regions)
            if attempt.stopped.is_set():
                return
            # Under the lock, so that an abandoned thread cannot overwrite a newer frame.
            dropped = [old for part in parts if (old := self._frame_queue.replace(part))]
            self._frames += 1
            attempt.lost_frames = lost_frames
            attempt.first_frame = attempt.first_frame or time.monotonic()
            attempt.awaited_since = math.inf
            self._set_state_of_frames()
        for _ in dropped:
            self._on_dropped()
        for part in parts if self._schedule.every_frame else ():
            while not attempt.stopped.is_set():
                if self._frame_queue.wait_until_taken(part.source, timeout_s=1.0):
                    break
