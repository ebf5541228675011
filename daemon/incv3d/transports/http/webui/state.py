"""Latest results, runs and events for display."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from incv3d.frames import Frame, Result
from incv3d.protocol.events import EventMessage

RUNS_KEPT = 600
EVENTS_KEPT = 60
"""More than the page shows, so that it can still load their thumbnails."""
SOURCES_KEPT = 256
"""More than the cameras and regions of one daemon; the regions of a camera share the bytes of its frame."""
LARGEST_HELD = 8 * 1024 * 1024
"""The largest image in bytes to keep for display, one of each source."""


@dataclass(frozen=True, slots=True)
class LatestResult:
    """The latest result of a source."""

    number: int
    """Counts the results of all sources."""
    at_unix_s: float
    """When the frame was captured."""
    result: Result
    """The result with its frame, unless that is too large."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the Session."""

    number: int
    at_unix_s: float
    run_ms: float


@dataclass(frozen=True, slots=True)
class Event:
    """A label has entered or left."""

    number: int
    announcement: EventMessage
    thumbnail: bytes
    """A JPEG of the frame; empty: there is none."""


class UiState:
    """Keep the latest of every source for the viewers. Thread-safe.

    Nothing is decoded or encoded here: without viewers, a result costs only its place in a list.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._results = 0
        self._begun = -math.inf  # when the current source replaced another one
        self._events = 0
        self._latest: OrderedDict[str, LatestResult] = OrderedDict()  # by source, the newest at the end
        self._runs: deque[Run] = deque(maxlen=RUNS_KEPT)
        self._recent: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def deliver(self, result: Result) -> None:
        """Keep a result; rejections and probes are not shown."""
        if not result.ok or result.is_own or result.frame is None:
            return
        now, unix_s = self._clock(), self._wall()
        with self._lock:
            self._results += 1
            shown = LatestResult(self._results, unix_s - (now - result.frame.captured), _held(result))
            if result.frame.captured >= self._begun:
                self._latest[result.source] = shown
                self._latest.move_to_end(result.source)
            if len(self._latest) > SOURCES_KEPT:
                self._latest.popitem(last=False)
            self._runs.append(Run(self._results, unix_s, result.timings.run_ms))

    def announce(self, announcement: EventMessage, thumbnail: bytes) -> None:
        """Keep an event."""
        with self._lock:
            self._events += 1
            self._recent.append(Event(self._events, announcement, thumbnail))

    def latest(self) -> list[LatestResult]:
        """Return the latest result of every source, the newest last."""
        with self._lock:
            return list(self._latest.values())

    def runs(self, after: int = 0) -> list[Run]:
        """Return the runs with a higher number than `after`, in order."""
        with self._lock:
            return [run for run in self._runs if run.number > after]

    def events(self, after: int = 0) -> list[Event]:
        """Return the events with a higher number than `after`, in order."""
        with self._lock:
            return [event for event in self._recent if event.number > after]

    def forget_sources(self) -> None:
        """Stop showing what was captured so far: the daemon has another source now."""
        with self._lock:
            self._begun = self._clock()
            self._latest.clear()


def is_too_large(frame: Frame) -> bool:
    """Return whether the image is too large to be kept for display."""
    return len(frame.data) > LARGEST_HELD


def _held(result: Result) -> Result:
    return replace(result, frame=None) if result.frame and is_too_large(result.frame) else result
