"""Follow the events, and send what the rules say."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from incv3d.clock import back_off_s
from incv3d.config.loading import ConfigError
from incv3d.config.notify import NotifySection
from incv3d.config.schema import Config
from incv3d.events.labelled_image import ImageToSave
from incv3d.frames import Frame
from incv3d.images.encode import encode_classified
from incv3d.images.preprocess import ImageError
from incv3d.notify.outbox import Message, Outbox
from incv3d.notify.rules import RuleBook
from incv3d.notify.services import read_services
from incv3d.protocol.events import EventMessage
from incv3d.threads import OnDeath, start_thread

LOG = logging.getLogger(__name__)
FOLDER = "notify"
MOST_EVENTS = 64
"""Events that wait for the thread; beyond it the oldest are dropped and counted."""
LATE_S = 120.0
"""A message that is sent later than this says so."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
REMEMBER_S = 3600.0
"""How often what the rules remember is written, if nothing is sent."""


class Notifier:
    """Sends notifications. An :class:`incv3d.events.listener.EventListener`.

    :param folder: where messages wait.
    :param on_death: called with the thread's name and the error when the thread dies.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        on_death: OnDeath,
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._section = config.notify
        self._max_pixels = config.intake.max_pixels
        self._outbox = Outbox(folder)
        self._on_death = on_death
        self._first_pause_s = first_pause_s
        self._clock = clock
        self._changed = threading.Condition()
        self._events: deque[tuple[EventMessage, Frame | None]] = deque(maxlen=MOST_EVENTS)
        self._is_closed = False
        self._sent = self._dropped = self._failures = 0
        self._waiting = 0
        self._problem = ""
        self._next_try = self._next_memory = 0.0
        self._rules: RuleBook | None = None
        self._thread: threading.Thread | None = None
        self._start_if_wanted()

    def take_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Queue an event for the thread."""
        if self._section.rules:
            with self._changed:
                self._dropped += len(self._events) == MOST_EVENTS
                self._events.append((event, frame))
                self._changed.notify()

    def take_image(self, image: ImageToSave, path: Path) -> None:
        """Do nothing: a message has the frame of its event."""

    def reconfigure(self, config: Config) -> None:
        """Follow other rules from now on."""
        with self._changed:
            self._section, self._max_pixels = config.notify, config.intake.max_pixels
            self._rules = None
            self._next_try = 0.0
            self._changed.notify()
        self._start_if_wanted()

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """Do nothing: the thread knows when to try again."""

    def status(self) -> dict[str, Any]:
        """Return, for ``stats``, how many messages were sent, wait and were dropped, and why some wait."""
        if not self._thread:
            return {}
        return {
            "notify": {
                "sent": self._sent,
                "waiting": self._waiting,
                "dropped": self._dropped + self._outbox.dropped,
                "trouble": self._problem,
            }
        }

    def close(self, deadline: float) -> None:
        """Keep what waits for the next start."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join(max(0.5, min(3.0, deadline - time.monotonic())))

    def _start_if_wanted(self) -> None:
        if self._section.rules and not self._thread:
            self._thread = start_thread("notify", self._work, self._on_death)

    def _work(self) -> None:
        while True:
            try:
                self._outbox.open()
                self._run()
                return
            except OSError as error:
                self._note(f"{error.filename or FOLDER}: {error.strerror}")
                with self._changed:
                    if self._changed.wait_for(lambda: self._is_closed, LONGEST_PAUSE_S):
                        return

    def _run(self) -> None:
        memory = self._outbox.memory()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or self._events or self._rules is None, self._pause_s()
                )
                events = list(self._events)
                self._events.clear()
                is_last, section = self._is_closed, self._section
                rules = self._rules = self._rules or RuleBook(section.read_rules, memory)
            for event, frame in events:
                self._take(rules, section, event, frame)
            self._waiting = len(self._outbox)
            if is_last or (events and time.monotonic() >= self._next_memory):
                self._outbox.remember(rules.memory)
                self._next_memory = time.monotonic() + REMEMBER_S
            if is_last:
                return
            if self._waiting and time.monotonic() >= self._next_try:
                self._send_first(section)

    def _pause_s(self) -> float | None:
        """Return how long to wait for events; None: for as long as it takes."""
        return max(0.0, self._next_try - time.monotonic()) if self._waiting else None

    def _take(
        self, rules: RuleBook, section: NotifySection, event: EventMessage, frame: Frame | None
    ) -> None:
        at_s = datetime.fromisoformat(event.at).timestamp()
        met = rules.met_by(event, at_s)
        if not met:
            return
        wants_image = any(section.read_rules[name].image for name in met if name in section.rules)
        image = self._encoded(frame) if frame and wants_image else b""
        self._outbox.add(message_of(event, at_s), image)
        self._outbox.remember(rules.memory)

    def _encoded(self, frame: Frame) -> bytes:
        try:
            return encode_classified(frame, self._max_pixels)
        except ImageError as error:
            LOG.warning("a notification has no image: %s", error)
            return b""

    def _send_first(self, section: NotifySection) -> None:
        """Send the oldest message to all that have not got it."""
        found = self._outbox.first()
        if found is None:
            return
        number, message, image = found
        try:
            services = read_services(Path(section.urls_file))
        except ConfigError as error:
            self._fail(str(error))
            return
        due = [each for each in services if message.unsent is None or each.id in message.unsent]
        late = late_words(message, self._clock())
        failed = {
            each.id: reason
            for each in due
            if (reason := each.send(message.title, message.body + late, image))
        }
        if failed:
            message.unsent = list(failed)
            self._outbox.update(number, message)
            shown = next(each.shown for each in due if each.id in failed)
            self._fail(f"{shown}: {next(iter(failed.values()))}")
            return
        self._outbox.remove(number)
        self._sent += 1
        self._failures = 0
        self._waiting = len(self._outbox)
        self._next_try = 0.0
        if self._problem:
            LOG.warning("notifications are sent again")
        self._problem = ""

    def _fail(self, said: str) -> None:
        self._failures += 1
        self._next_try = time.monotonic() + back_off_s(self._failures, self._first_pause_s, LONGEST_PAUSE_S)
        self._note(said)

    def _note(self, said: str) -> None:
        if not self._problem:
            LOG.warning("a notification cannot be sent (%s); trying again", said)
        self._problem = said


def message_of(event: EventMessage, at_s: float) -> Message:
    """Return the message about an event."""
    when = f"{datetime.fromtimestamp(at_s):%Y-%m-%d %H:%M:%S}"
    if event.event == "entered":
        return Message(
            f"{event.label} at {event.source}",
            f"{event.label} entered at {when}, score {event.score:.2f}",
            at_s,
        )
    stayed = f" after {event.duration_s:.0f} s" if event.duration_s else ""
    return Message(f"{event.label} left {event.source}", f"{event.label} left at {when}{stayed}", at_s)


def late_words(message: Message, now_s: float) -> str:
    """Return what to add to a message that is sent late; empty: it is not."""
    if now_s - message.at_s < LATE_S:
        return ""
    minutes = round((now_s - message.at_s) / 60)
    return f" (this message is late by {minutes} minutes: it could not be sent before)"


def create_notifier(config: Config, folder: Path, on_death: OnDeath) -> Notifier:
    """Return what sends notifications; messages wait in the state directory `folder`."""
    return Notifier(config, folder / FOLDER, on_death)
