"""The daemon's configured source, if any; a reload may replace it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from incv3d.config.source import SourceSection
from incv3d.frames import Frame, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, OpenSource, SourceStatus, SourceSupervisor
from incv3d.threads import OnDeath

LOG = logging.getLogger(__name__)
LOG_PAUSE_EVERY_S = 10.0
"""Seconds between two log lines about pausing and resuming."""
SOURCE_CLOSES_S = 2.0
"""How long a source may take to release its camera before the next one is opened, which retries anyway."""


class SourceManager:
    """Captures from the configured source.

    :param on_dropped: called for every frame that is replaced before it is classified.
    :param on_end: called with the source's name when it has no more frames.
    :param on_death: called with the thread's name and the error when the watching thread dies.
    """

    def __init__(
        self,
        frame_queue: FrameQueue,
        on_dropped: Callable[[], None],
        on_end: Callable[[str], None],
        on_death: OnDeath,
    ) -> None:
        self._frame_queue = frame_queue
        self._on_dropped = on_dropped
        self._on_end = on_end
        self._on_death = on_death
        self._supervisor: SourceSupervisor | None = None
        self.paused = False
        """Whether frames of the source are discarded."""
        self._logged_paused = False
        self._next_log = -math.inf

    def configure(self, section: SourceSection, opener: OpenSource | None) -> None:
        """Set the source to capture from once started.

        :param opener: opens the source; None: there is none.
        """
        if opener is None:
            return
        name, regions = section.name, section.named_regions
        self._supervisor = SourceSupervisor(
            name,
            opener,
            self._frame_queue,
            CaptureSchedule(section.frame_interval_s, section.takes_every_frame, section.frame_timeout_s),
            self._on_dropped,
            self._on_end,
            self._on_death,
            regions=regions,
        )
        self._supervisor.pause(self.paused)
        if regions:
            LOG.info("source %s: regions %s", name, ", ".join(regions))

    def start(self) -> None:
        """Start to capture."""
        if self._supervisor:
            self._supervisor.start()

    def replace(
        self, section: SourceSection, opener: OpenSource | None, on_between: Callable[[], None]
    ) -> None:
        """Close the source and capture from another.

        :param on_between: called after the old source stops and before the new one starts.
        """
        old, self._supervisor = self._supervisor, None
        if old:
            old.close()
            old.wait_until_closed(SOURCE_CLOSES_S)
        on_between()
        self.configure(section, opener)
        self.start()

    def pause(self, wanted: bool) -> None:
        """Discard the frames of the source, or stop discarding them."""
        self.paused = wanted
        self.log_pause(time.monotonic())
        if self._supervisor:
            self._supervisor.pause(wanted)

    def log_pause(self, now: float) -> None:
        """Log that the source was paused or resumed, unless the last such line is too recent.

        :param now: monotonic. Call this regularly.
        """
        if self.paused != self._logged_paused and now >= self._next_log:
            self._logged_paused, self._next_log = self.paused, now + LOG_PAUSE_EVERY_S
            LOG.info("paused: frames of the source are discarded" if self.paused else "resumed")

    def close(self) -> None:
        """Stop capturing; the camera is released soon."""
        if self._supervisor:
            self._supervisor.close()

    def deliver(self, result: Result) -> None:
        """Record the result of a frame of the source. Callable from any thread."""
        supervisor = self._supervisor
        if supervisor and result.source in supervisor.sources:
            supervisor.judge(result)

    def accept(self, frame: Frame) -> None:
        """Record that a frame of the source was skipped as unchanged."""
        supervisor = self._supervisor
        if supervisor and frame.source in supervisor.sources:
            supervisor.accept()

    def status(self) -> list[SourceStatus]:
        """Return the state of the source; empty if there is none. Callable from any thread."""
        supervisor = self._supervisor
        return [supervisor.status()] if supervisor else []
