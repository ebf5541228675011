"""Collect the visits of labels from events, and write them once a minute."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from incv3d.clock import CLOCK_SET_S
from incv3d.config.schema import Config
from incv3d.events.labelled_image import ImageToSave
from incv3d.frames import Frame
from incv3d.history.database import DAY_MS, FILE, HistoryError, is_damaged, set_aside
from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter
from incv3d.protocol.events import EventMessage
from incv3d.threads import OnDeath, start_thread

LOG = logging.getLogger(__name__)
WRITE_S = 60.0
"""At most this much is lost by a power cut."""
COUNT_S = 3600.0
MOST_WAITING = 20_000
"""Visits that wait for a disk that cannot be written; beyond it the oldest are dropped."""
Key = tuple[str, str, str]
"""Source, label and synset: a group may have the name of a label."""


class HistoryRecorder:
    """Keeps what was seen. An :class:`incv3d.events.listener.EventListener`.

    Events only change what is in memory; a thread of its own writes. On a machine whose clock is set over the
    network, visits before that are kept in memory, and are written with the right time afterwards.

    :param path: the file.
    :param on_death: called with the thread's name and the error when the thread dies.
    """

    def __init__(
        self,
        config: Config,
        path: Path,
        on_death: OnDeath,
        write_s: float = WRITE_S,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section = config.history
        self._is_wanted = _is_wanted(config)
        self._path = path
        self._on_death = on_death
        self._write_s = write_s
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._present: dict[Key, tuple[Visit, float]] = {}
        self._ended: list[tuple[Visit, float]] = []
        self._is_closed = False
        self._problem = ""
        self._written = self._dropped = 0
        self._size_bytes = 0
        self._thread: threading.Thread | None = None
        self._start_if_wanted()

    def take_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Begin or end a visit."""
        if not self._is_wanted:
            return
        key = event.source, event.label, event.synset
        now, monotonic = self._clock(), self._monotonic()
        # Without a set clock the time of the event is worthless: it is derived from the monotonic one later.
        at_ms = _milliseconds(event.at) if now >= CLOCK_SET_S else 0
        with self._changed:
            if event.event == "entered":
                self._present[key] = (
                    Visit(event.source, event.label, event.synset, at_ms, event.score),
                    monotonic,
                )
                return
            duration_s = event.duration_s or 0.0
            unknown = (
                Visit(*key, max(0, at_ms - round(duration_s * 1000)), event.score),
                monotonic - duration_s,
            )
            visit, entered = self._present.pop(key, unknown)
            visit.duration_s, visit.reason = duration_s, event.reason or ""
            visit.best = event.best if event.best is not None else event.score
            self._ended.append((visit, entered))
            if len(self._ended) > MOST_WAITING:
                self._dropped += 1
                del self._ended[0]

    def take_image(self, image: ImageToSave, path: Path) -> None:
        """Note the first image of each visit that it shows."""
        source = image.frame.source
        with self._changed:
            for label in image.labels:
                found = self._present.get((source, label.label, label.synset))
                recent = (
                    visit
                    for visit, _ in reversed(self._ended)
                    if (visit.source, visit.label, visit.synset) == (source, label.label, label.synset)
                )
                visit = found[0] if found else next(recent, None)
                if visit and not visit.image:
                    visit.image = path.name

    def reconfigure(self, config: Config) -> None:
        """Keep a history from now on, or no more."""
        with self._changed:
            self._section, self._is_wanted = config.history, _is_wanted(config)
        self._start_if_wanted()

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """Do nothing: the thread knows when to write."""

    def status(self) -> dict[str, Any]:
        """Return, for ``stats``, what was written, what waits, and why nothing can be written."""
        if not self._is_wanted and not self._thread:
            return {}
        return {
            "history": {
                "written": self._written,
                "waiting": len(self._ended),
                "dropped": self._dropped,
                "bytes": self._size_bytes,
                "trouble": self._problem,
            }
        }

    def close(self, deadline: float) -> None:
        """Write what waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join(max(1.0, deadline - self._monotonic()))
            if self._thread.is_alive():
                LOG.warning("%s: the last visits could not be written in time", self._path)

    def _start_if_wanted(self) -> None:
        if self._is_wanted and not self._thread:
            self._thread = start_thread("history", self._work, self._on_death)

    def _work(self) -> None:
        writer: HistoryWriter | None = None
        next_count = 0.0
        is_last = False
        while not is_last:
            try:
                if writer is None:
                    writer = open_writer(self._path)
                    self._recovered()
                is_last = self._wait()
                self._write(writer)
                if is_last or self._monotonic() >= next_count:
                    writer.count()
                    self._prune(writer)
                    next_count = self._monotonic() + COUNT_S
                self._size_bytes = writer.size_bytes
                self._recovered()
            except (sqlite3.Error, HistoryError, OSError) as error:
                self._note_failure(error)
                if writer is None or not isinstance(error, sqlite3.OperationalError):
                    if writer:
                        writer.close()
                    writer = None
                    is_last = is_last or self._wait()
        if writer:
            writer.close()

    def _wait(self) -> bool:
        """Wait until it is time to write; return whether it is the last time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, self._write_s)
            return self._is_closed

    def _write(self, writer: HistoryWriter) -> None:
        now, monotonic = self._clock(), self._monotonic()
        if now < CLOCK_SET_S:
            return
        with self._changed:
            for visit, entered in (*self._ended, *self._present.values()):
                if not visit.entered_ms:
                    visit.entered_ms = round((now - (monotonic - entered)) * 1000)
            ended = [visit for visit, _ in self._ended]
            present = [visit for visit, _ in self._present.values()]
        writer.write(ended, present)
        with self._changed:
            written = {id(visit) for visit in ended}
            self._ended = [each for each in self._ended if id(each[0]) not in written]
            self._written += len(ended)

    def _prune(self, writer: HistoryWriter) -> None:
        oldest_ms = round(self._clock() * 1000) - self._section.keep_days * DAY_MS
        if deleted := writer.prune(oldest_ms, self._section.max_bytes):
            LOG.info("%s: %d visits are too old, or the file is too large: deleted", self._path, deleted)

    def _note_failure(self, error: Exception) -> None:
        said = str(error) if isinstance(error, HistoryError) else f"{self._path}: {error}"
        if not self._problem:
            LOG.warning("the history cannot be written (%s); trying again every minute", said)
        self._problem = said

    def _recovered(self) -> None:
        if self._problem:
            LOG.warning("%s: the history is written again", self._path)
        self._problem = ""


def open_writer(path: Path) -> HistoryWriter:
    """Open the file; a damaged one is set aside, and another one is begun.

    :raises HistoryError: it cannot be used.
    :raises sqlite3.Error: the disk fails.
    """
    if is_damaged(path):
        aside = set_aside(path)
        LOG.error("%s: damaged; it is now %s, and a new history begins", path, aside.name)
    writer = HistoryWriter(path)
    try:
        writer.end_lost_visits()
    except sqlite3.Error:
        writer.close()
        raise
    return writer


def create_recorder(config: Config, folder: Path, on_death: OnDeath) -> HistoryRecorder:
    """Return what keeps the history in the state directory `folder`."""
    return HistoryRecorder(config, folder / FILE, on_death)


def _is_wanted(config: Config) -> bool:
    return config.history.enabled and config.watches_labels


def _milliseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
