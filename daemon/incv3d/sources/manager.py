"""The daemon's own source, as the daemon holds it: there may be none, and a reload may bring another."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from incv3d.config.schema import SourceSection
from incv3d.frames import Frame, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.protocol.events import EventMessage
from incv3d.sources import CaptureSchedule, OpenSource, SourceStatus, SourceSupervisor

LOG = logging.getLogger(__name__)
SAY_EVERY_S = 10.0
"""Seconds between two lines of the log that say whether the source is paused."""
SOURCE_CLOSES_S = 2.0
"""How long a source has to let go of its camera before the next one is opened, which tries again anyway."""


class SourceManager:
    """What captures from the configured source.

    :param on_dropped: told of every frame that was replaced before it was classified.
    :param on_end: told the source's name when it has no more frames.
    :param on_death: told the thread's name and the error when the watch over the source cannot go on.
    """

    def __init__(
        self,
        mailbox: FrameQueue,
        on_dropped: Callable[[], None],
        on_end: Callable[[str], None],
        on_death: Callable[[str, BaseException], None],
    ) -> None:
        self._mailbox = mailbox
        self._on_dropped = on_dropped
        self._on_end = on_end
        self._on_death = on_death
        self._capture: SourceSupervisor | None = None
        self.paused = False
        """Whether the source is passed over."""
        self._said_paused = False
        self._next_say = -math.inf

    def use(self, section: SourceSection, opener: OpenSource | None) -> None:
        """Capture by `section` once it is started; None: there is nothing to capture from."""
        if opener is None:
            return
        name, regions = section.name, section.named_regions
        self._capture = SourceSupervisor(
            name,
            opener,
            self._mailbox,
            CaptureSchedule(section.gap_s, section.takes_every_frame, section.patience_s),
            self._on_dropped,
            self._on_end,
            self._on_death,
            regions=regions,
        )
        self._capture.pause(self.paused)
        if regions:
            LOG.info("source %s: regions %s", name, ", ".join(regions))

    def start(self) -> None:
        """Begin to capture."""
        if self._capture:
            self._capture.start()

    def replace(
        self, section: SourceSection, opener: OpenSource | None, on_between: Callable[[], None]
    ) -> None:
        """Let go of the source, and capture from another.

        :param on_between: called when the one captures no more, and the other not yet.
        """
        old, self._capture = self._capture, None
        if old:
            old.close()
            old.wait_until_closed(SOURCE_CLOSES_S)
        on_between()
        self.use(section, opener)
        self.start()

    def pause(self, wanted: bool) -> None:
        """Pass the source over, or not any more."""
        self.paused = wanted
        self.say(time.monotonic())
        if self._capture:
            self._capture.pause(wanted)

    def say(self, now: float) -> None:
        """Let the log say whether the source is paused, if that has changed and its last line is old enough.

        :param now: monotonic; to be called every now and then.
        """
        if self.paused != self._said_paused and now >= self._next_say:
            self._said_paused, self._next_say = self.paused, now + SAY_EVERY_S
            LOG.info("paused: the source is passed over" if self.paused else "resumed")

    def close(self) -> None:
        """Capture no more; the camera is let go of soon."""
        if self._capture:
            self._capture.close()

    def deliver(self, result: Result) -> None:
        """Record the result of a frame of the source. Callable from any thread."""
        capture = self._capture
        if capture and result.source in capture.sources:
            capture.judge(result)

    def announce(self, announcement: EventMessage, frame: Frame | None) -> None:
        """Events say nothing about the source."""

    def accept(self, frame: Frame) -> None:
        """Record that a frame of the source was skipped as unchanged."""
        capture = self._capture
        if capture and frame.source in capture.sources:
            capture.accept()

    def status(self) -> list[SourceStatus]:
        """How the source is, if there is one; callable from any thread."""
        capture = self._capture
        return [capture.status()] if capture else []
