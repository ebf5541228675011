"""The daemon's configured sources; a reload may add, remove and replace single ones."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from incv3d.config.source import SourceSection
from incv3d.frames import Frame, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, OpenSource, SourceStatus, SourceSupervisor
from incv3d.sources.active_time import IsActive
from incv3d.threads import OnDeath

LOG = logging.getLogger(__name__)
LOG_PAUSE_EVERY_S = 10.0
"""Seconds between two log lines about pausing and resuming."""
LOOK_EVERY_S = 5.0
"""How often it is decided whether sources capture or sleep."""
SOURCE_CLOSES_S = 2.0
"""How long a source may take to release its camera before the next one is opened, which retries anyway."""


@dataclass(slots=True)
class _Captured:
    """A source that is captured from, while it is not asleep."""

    section: SourceSection
    create: Callable[[], SourceSupervisor]
    supervisor: SourceSupervisor | None
    """None: it is asleep, or was not started."""
    before: SourceStatus
    """Its status before `supervisor` was started, with what was counted until then."""

    def status(self) -> SourceStatus:
        """Return the state, with counts since the start."""
        supervisor, before = self.supervisor, self.before
        if supervisor is None:
            return before
        now = supervisor.status()
        counts = ("frames", "lost_frames", "recoveries", "refused_frames")
        return replace(now, **{name: getattr(before, name) + getattr(now, name) for name in counts})


class SourceManager:
    """Captures from the configured sources, each on its own: one that hangs or fails disturbs no other.

    :param on_dropped: called for every frame that is replaced before it is classified.
    :param on_end: called with a source's name when it has no more frames.
    :param on_asleep: called with a source's name when it falls asleep.
    :param on_death: called with the thread's name and the error when a watching thread dies.
    """

    def __init__(
        self,
        frame_queue: FrameQueue,
        on_dropped: Callable[[], None],
        on_end: Callable[[str], None],
        on_asleep: Callable[[str], None],
        on_death: OnDeath,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._frame_queue = frame_queue
        self._on_dropped = on_dropped
        self._on_end = on_end
        self._on_asleep = on_asleep
        self._on_death = on_death
        self._clock = clock
        # Replaced, never changed: other threads read it.
        self._captured: Mapping[str, _Captured] = {}
        self._active: Mapping[str, IsActive] = {}
        self._is_started = False
        self.paused = False
        """Whether the frames of all sources are discarded."""
        self._logged_paused = False
        self._next_log = -math.inf
        self._next_look = 0.0

    def configure(self, sections: Iterable[SourceSection], openers: Mapping[str, OpenSource]) -> None:
        """Set the sources to capture from once started.

        :param openers: opens each source, by its name.
        """
        self._captured = {each.name: self._create(each, openers[each.name]) for each in sections}

    def _create(self, section: SourceSection, opener: OpenSource) -> _Captured:
        name, regions = section.name, section.named_regions
        if regions:
            LOG.info("source %s: regions %s", name, ", ".join(regions))
        before = SourceStatus(name, "opening", "", time.monotonic(), 0, 0, 0, 0, 0)
        return _Captured(section, lambda: self._supervise(section, opener), None, before)

    def _supervise(self, section: SourceSection, opener: OpenSource) -> SourceSupervisor:
        supervisor = SourceSupervisor(
            section.name,
            opener,
            self._frame_queue,
            CaptureSchedule(section.frame_interval_s, section.takes_every_frame, section.frame_timeout_s),
            self._on_dropped,
            self._on_end,
            self._on_death,
            regions=section.named_regions,
        )
        supervisor.pause(self.paused)
        return supervisor

    def start(self) -> None:
        """Start to capture."""
        self._is_started = True
        self._follow_the_clock()

    def set_active_times(self, active: Mapping[str, IsActive]) -> None:
        """Let sources sleep.

        :param active: decides for some sources whether they capture now, by name.
        """
        self._active = active
        self._next_look = 0.0

    def look(self, now: float) -> None:
        """Wake sources, and let them fall asleep, as their hours say. Call this regularly.

        :param now: monotonic.
        """
        self._log_pause(now)
        if self._is_started and now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._follow_the_clock()

    def _follow_the_clock(self) -> None:
        now_s = self._clock()
        for name, each in self._captured.items():
            is_active = name not in self._active or self._active[name](now_s)
            if is_active and each.supervisor is None:
                if each.before.state == "asleep":
                    LOG.info("source %s: awake", name)
                each.before = replace(each.before, state="opening", reason="")
                each.supervisor = each.create()
                each.supervisor.start()
            elif not is_active and each.before.state != "asleep":
                self._put_to_sleep(each)

    def _put_to_sleep(self, captured: _Captured) -> None:
        name, reason = captured.section.name, f"active: {captured.section.active}"
        LOG.info("source %s: asleep (%s)", name, reason)
        supervisor = captured.supervisor
        captured.before = replace(
            captured.status(), state="asleep", reason=reason, since=time.monotonic(), hung_threads=0
        )
        captured.supervisor = None
        if supervisor:
            supervisor.close()
            self._on_asleep(name)

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
        for name, each in kept.items():
            each.section = wanted[name]
        gone = [
            each.supervisor for name, each in self._captured.items() if name not in kept and each.supervisor
        ]
        for supervisor in gone:
            supervisor.close()
        deadline = time.monotonic() + SOURCE_CLOSES_S
        for supervisor in gone:
            supervisor.wait_until_closed(max(0.0, deadline - time.monotonic()))
        self._captured = kept
        on_between()
        new = {name: self._create(each, openers[name]) for name, each in wanted.items() if name not in kept}
        self._captured = {name: kept.get(name) or new[name] for name in wanted}
        self._follow_the_clock()

    def pause(self, wanted: bool) -> None:
        """Discard the frames of the sources, or stop discarding them."""
        self.paused = wanted
        self._log_pause(time.monotonic())
        for each in self._supervisors():
            each.pause(wanted)

    def _log_pause(self, now: float) -> None:
        """Log that the sources were paused or resumed, unless the last such line is too recent."""
        if self.paused != self._logged_paused and now >= self._next_log:
            self._logged_paused, self._next_log = self.paused, now + LOG_PAUSE_EVERY_S
            LOG.info("paused: frames of the source are discarded" if self.paused else "resumed")

    def close(self) -> None:
        """Stop capturing; the cameras are released soon."""
        self._is_started = False
        for each in self._supervisors():
            each.close()

    def _supervisors(self) -> list[SourceSupervisor]:
        return [each.supervisor for each in self._captured.values() if each.supervisor]

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
        supervisor = found.supervisor if found else None
        return supervisor if supervisor and source in supervisor.sources else None

    def states(self) -> dict[str, str]:
        """Return the state of each source, by its name; ``paused`` if all are. Callable from any thread."""
        return {each.name: "paused" if self.paused else each.state for each in self.status()}

    def discarded_frames(self) -> list[Frame]:
        """Return the latest frame of each source, while they are paused. Callable from any thread."""
        return [frame for each in self._supervisors() if (frame := each.discarded)]

    def status(self) -> list[SourceStatus]:
        """Return the state of each source, in the order of the configuration. Callable from any thread."""
        return [each.status() for each in self._captured.values()]
