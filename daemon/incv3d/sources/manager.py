"""The daemon's configured sources; a reload may add, remove and replace single ones."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Captured:
    """A source that is captured from."""

    section: SourceSection
    supervisor: SourceSupervisor


class SourceManager:
    """Captures from the configured sources, each on its own: one that hangs or fails disturbs no other.

    :param on_dropped: called for every frame that is replaced before it is classified.
    :param on_end: called with a source's name when it has no more frames.
    :param on_death: called with the thread's name and the error when a watching thread dies.
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
        # Replaced, never changed: other threads read it.
        self._captured: Mapping[str, _Captured] = {}
        self.paused = False
        """Whether the frames of all sources are discarded."""
        self._logged_paused = False
        self._next_log = -math.inf

    def configure(self, sections: Iterable[SourceSection], openers: Mapping[str, OpenSource]) -> None:
        """Set the sources to capture from once started.

        :param openers: opens each source, by its name.
        """
        self._captured = {each.name: self._create(each, openers[each.name]) for each in sections}

    def _create(self, section: SourceSection, opener: OpenSource) -> _Captured:
        name, regions = section.name, section.named_regions
        supervisor = SourceSupervisor(
            name,
            opener,
            self._frame_queue,
            CaptureSchedule(section.frame_interval_s, section.takes_every_frame, section.frame_timeout_s),
            self._on_dropped,
            self._on_end,
            self._on_death,
            regions=regions,
        )
        supervisor.pause(self.paused)
        if regions:
            LOG.info("source %s: regions %s", name, ", ".join(regions))
        return _Captured(section, supervisor)

    def start(self) -> None:
        """Start to capture."""
        for each in self._captured.values():
            each.supervisor.start()

    def replace(
        self,
        sections: Iterable[SourceSection],
        openers: Mapping[str, OpenSource],
        on_between: Callable[[], None],
    ) -> None:
        """Capture from other sources; those that stay as they are run on undisturbed.

        :param on_between: called after the old sources stop and before the new ones start.
        """
        wanted = {each.name: each for each in sections}
        kept = {
            name: each
            for name, each in self._captured.items()
            if name in wanted and wanted[name].capturing == each.section.capturing
        }
        gone = [each.supervisor for name, each in self._captured.items() if name not in kept]
        for supervisor in gone:
            supervisor.close()
        deadline = time.monotonic() + SOURCE_CLOSES_S
        for supervisor in gone:
            supervisor.wait_until_closed(max(0.0, deadline - time.monotonic()))
        self._captured = kept
        on_between()
        new = {name: self._create(each, openers[name]) for name, each in wanted.items() if name not in kept}
        self._captured = {name: kept.get(name) or new[name] for name in wanted}
        for each in new.values():
            each.supervisor.start()

    def pause(self, wanted: bool) -> None:
        """Discard the frames of the sources, or stop discarding them."""
        self.paused = wanted
        self.log_pause(time.monotonic())
        for each in self._captured.values():
            each.supervisor.pause(wanted)

    def log_pause(self, now: float) -> None:
        """Log that the sources were paused or resumed, unless the last such line is too recent.

        :param now: monotonic. Call this regularly.
        """
        if self.paused != self._logged_paused and now >= self._next_log:
            self._logged_paused, self._next_log = self.paused, now + LOG_PAUSE_EVERY_S
            LOG.info("paused: frames of the source are discarded" if self.paused else "resumed")

    def close(self) -> None:
        """Stop capturing; the cameras are released soon."""
        for each in self._captured.values():
            each.supervisor.close()

    def deliver(self, result: Result) -> None:
        """Record the result of a frame of a source. Callable from any thread."""
        if supervisor := self._supervisor_of(result.source):
            supervisor.judge(result)

    def accept(self, frame: Frame) -> None:
        """Record that a frame of a source was skipped as unchanged. Callable from any thread."""
        if supervisor := self._supervisor_of(frame.source):
            supervisor.accept()

    def _supervisor_of(self, source: str) -> SourceSupervisor | None:
        """Return what captures the frames called `source`, of a region perhaps; None: nothing does."""
        found = self._captured.get(source.partition(".")[0])
        return found.supervisor if found and source in found.supervisor.sources else None

    def status(self) -> list[SourceStatus]:
        """Return the state of each source, in the order of the configuration. Callable from any thread."""
        return [each.supervisor.status() for each in self._captured.values()]
