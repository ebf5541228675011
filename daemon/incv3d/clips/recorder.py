"""Write a clip for each event."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incv3d.clips.muxing import ClipError, mux
from incv3d.clips.ring import PacketRing
from incv3d.config.clips import ClipsSection
from incv3d.config.schema import Config
from incv3d.events.image_folder import ImageFolder
from incv3d.events.labelled_image import ImageToSave, file_stem
from incv3d.frames import EncodedPacket, Frame
from incv3d.protocol.events import EventMessage
from incv3d.threads import OnDeath, start_thread

LOG = logging.getLogger(__name__)
MOST_WAITING = 2
"""Clips that wait for a slow disk; each holds up to a ring."""
SILENT_S = 2.0
"""A clip whose source sends no more packets ends this long after its time."""


@dataclass(slots=True)
class _Clip:
    """A clip whose time is not over yet."""

    stem: str
    event_at: float
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class _Finished:
    stem: str
    packets: list[EncodedPacket]


class ClipRecorder:
    """Keeps the latest seconds of each source in memory, and writes them when a label enters.

    An :class:`incv3d.events.listener.EventListener`. A label that enters during a clip prolongs it.

    :param on_death: called with the thread's name and the error when the thread dies.
    """

    def __init__(self, section: ClipsSection, on_death: OnDeath) -> None:
        self._section = section
        self._folder = ImageFolder(
            Path(section.folder), section.max_files, section.max_bytes, section.min_free_bytes
        )
        self._lock = threading.Lock()
        self._rings: dict[str, PacketRing] = {}
        self._clips: dict[str, _Clip] = {}
        self._finished: queue.Queue[_Finished | None] = queue.Queue(MOST_WAITING + 1)
        self._saved = self._dropped = self._failed = 0
        self._problem = ""
        self._thread = start_thread("clips", self._work, on_death)

    def record(self, source: str, packet: EncodedPacket) -> None:
        """Keep a packet of a source. Any thread may call this."""
        with self._lock:
            ring = self._rings.get(source)
            if ring is None:
                ring = self._rings[source] = PacketRing(self._section.before_s, self._section.ring_bytes)
            clip = self._clips.get(source)
            if clip and packet.at > clip.end:
                self._finish(source)
                clip = None
            ring.add(packet, clip.begin if clip else None)

    def take_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Begin a clip, or prolong one."""
        if event.event != "entered" or frame is None:
            return
        source = event.source.partition(".")[0]
        with self._lock:
            if source not in self._rings:
                return
            clip = self._clips.get(source)
            if clip is None:
                begin = frame.captured - self._section.before_s
                stem = file_stem(event.at, event.source, event.label, event.score)
                clip = self._clips[source] = _Clip(stem, frame.captured, begin, 0.0)
            longest = clip.begin + self._section.max_s
            clip.end = min(max(clip.end, frame.captured + self._section.after_s), longest)

    def take_image(self, image: ImageToSave, path: Path) -> None:
        """Do nothing: a clip is made for every event."""

    def reconfigure(self, config: Config) -> None:
        """Do nothing: its keys take a restart."""

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """End the clips of sources that send no more packets."""
        with self._lock:
            for source in [each for each, clip in self._clips.items() if now > clip.end + SILENT_S]:
                self._finish(source)

    def status(self) -> dict[str, Any]:
        """Return, for ``stats``, how many clips were written, why not, and what the rings hold."""
        with self._lock:
            ring_bytes = sum(ring.size_bytes for ring in self._rings.values())
        return {
            "clips": {
                "saved": self._saved,
                "dropped": self._dropped,
                "failed": self._failed,
                "trouble": self._problem,
                "files": len(self._folder),
                "bytes": self._folder.size_bytes,
                "ring_bytes": ring_bytes,
            }
        }

    def close(self, deadline: float) -> None:
        """Write the clips that have begun, as far as they are."""
        with self._lock:
            for source in list(self._clips):
                self._finish(source)
        self._finished.put(None)
        self._thread.join(max(1.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            LOG.warning("%s: the last clips could not be written in time", self._folder.path)

    def _finish(self, source: str) -> None:
        clip = self._clips.pop(source)
        packets = self._rings[source].between(clip.begin, clip.end)
        if packets and packets[0].at > clip.event_at:
            packets = []  # the ring is too small to reach back to the event
        if packets and self._finished.qsize() < MOST_WAITING:
            self._finished.put(_Finished(clip.stem, packets))
        else:
            self._dropped += 1

    def _work(self) -> None:
        try:
            self._folder.open()
        except OSError as error:
            self._note_failure(error.strerror or str(error))
        while finished := self._finished.get():
            try:
                suffix, content = mux(finished.packets)
                path = self._folder.keep(finished.stem, suffix, content)
            except (ClipError, OSError) as error:
                self._failed += 1
                self._note_failure(getattr(error, "strerror", None) or str(error))
                continue
            self._saved += 1
            LOG.info("%s: written", path)
            if self._problem:
                LOG.warning("%s: clips are written again", self._folder.path)
            self._problem = ""

    def _note_failure(self, said: str) -> None:
        if not self._problem:
            LOG.warning("%s: clips cannot be written (%s); continuing without", self._folder.path, said)
        self._problem = said
