"""Capture images that appear in a folder, as from an FTP upload or `motion`; each is returned once."""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from incv3d.frames import Frame
from incv3d.sources.base import SourceError
from incv3d.sources.folder_watch import FileState, FolderWatch, file_state
from incv3d.sources.image_files import read_image, shown_name

LOG = logging.getLogger(__name__)
LOOK_S = 0.5
"""Seconds between two scans of the folder."""
LOOKING_SHARE = 0.05
"""The largest share of time to spend on scans: a large folder is scanned less often."""
WRITTEN_S = 0.5
"""An image with an end marker is complete if it has not changed for this time ..."""
UNFINISHED_S = 10.0
"""... and one without an end marker after this time: it is damaged, or its upload was aborted."""
MOST_WAITING = 1000
"""The most images that wait; beyond it the oldest are dropped."""
TAIL_BYTES = 4096
"""Where the end marker is searched for; some programs append data after it."""


@dataclass(slots=True)
class _Waiting:
    """An image that has not been returned yet."""

    path: str
    state: FileState
    look: int
    """The number of the scan that found it."""
    first_seen: float
    unchanged_since: float

    @property
    def order(self) -> tuple[int, int]:
        """The sort key; newer images have larger ones."""
        return self.look, self.state.modified_ns


@dataclass(slots=True)
class FolderState:
    """What scans have found so far. It outlives a source that fails and is reopened."""

    folder: FolderWatch
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    looks: int = 0


class FolderSource:
    """Returns the images that appear in a folder, newest first, each once.

    Existing images come first. The time of a frame is when its file was first seen.

    :raises SourceAbsent: there is no such folder.
    """

    def __init__(self, name: str, watch: FolderState) -> None:
        self.lost_frames = 0
        self.idle_until = 0.0
        self._name = name
        self._watch = watch
        self._next_look = 0.0
        self._interrupted = threading.Event()
        self._look()

    def capture(self, after: float) -> Frame | None:
        """Return the newest complete image, as soon as there is one; None after :meth:`interrupt`.

        :raises SourceAbsent: the folder is gone.
        """
        wake = after
        while True:
            self.idle_until = wake
            if self._interrupted.wait(max(0.0, wake - time.monotonic())):
                return None
            if time.monotonic() >= self._next_look:
                self._look()
            if frame := self._take():
                return frame
            wake = self._next_look

    def _look(self) -> None:
        began = time.monotonic()
        watch = self._watch
        watch.looks += 1
        found = (
            _Waiting(path, state, watch.looks, began, _unchanged_since(state, began))
            for path, state in watch.folder.look()
        )
        # Of a large archive only the newest are kept in memory.
        newest = heapq.nlargest(MOST_WAITING + 1, found, key=lambda each: each.order)
        watch.waiting.update((each.path, each) for each in newest)
        if not watch.folder.is_empty:
            for path in [path for path in watch.waiting if file_state(path) is None]:
                del watch.waiting[path]  # removed before its turn
        self._drop_oldest()
        self._next_look = began + max(LOOK_S, (time.monotonic() - began) / LOOKING_SHARE)

    def _drop_oldest(self) -> None:
        waiting = self._watch.waiting
        if len(waiting) <= MOST_WAITING:
            return
        if not self.lost_frames:
            LOG.warning(
                "source %s: more than %d images wait; the oldest are dropped", self._name, MOST_WAITING
            )
        ordered = sorted(waiting.values(), key=lambda each: each.order)
        for each in ordered[:-MOST_WAITING]:
            del waiting[each.path]
            self.lost_frames += 1

    def _take(self) -> Frame | None:
        """Return the newest complete image."""
        now = time.monotonic()
        waiting = self._watch.waiting
        for each in sorted(waiting.values(), key=lambda found: found.order, reverse=True):
            state = file_state(each.path)
            if state is None:  # removed, or its folder is unmounted
                continue
            if state != each.state:
                each.state, each.unchanged_since = state, _unchanged_since(state, now)
            if not _is_complete(each, now):
                continue
            del waiting[each.path]
            try:
                data = read_image(Path(each.path))
            except SourceError as error:
                LOG.warning("%s", error)
                continue
            return Frame(self._name, data, None, now, each.first_seen, id=self._id(each.path))
        return None

    def _id(self, path: str) -> str:
        """Return the path of an image relative to the folder."""
        root = self._watch.folder.path
        return shown_name(os.path.relpath(path, root) if Path(root).is_dir() else Path(path).name)

    def interrupt(self) -> None:
        """Wake a blocked capture."""
        self._interrupted.set()

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _unchanged_since(state: FileState, now: float) -> float:
    """Return since when a file is known to be in its present state (monotonic)."""
    age_s = time.time() - state.modified_ns / 1e9
    # An old file is finished. A recent time proves nothing, because clocks differ.
    return now - UNFINISHED_S if age_s > UNFINISHED_S else now


def _is_complete(each: _Waiting, now: float) -> bool:
    unchanged_s = now - each.unchanged_since
    if not each.state.size_bytes or unchanged_s < WRITTEN_S:
        return False
    return unchanged_s >= UNFINISHED_S or has_end(each.path, each.state.size_bytes)


def has_end(path: str, size_bytes: int) -> bool:
    """Return whether an image has the end marker of its format, or the length that it states."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(16)
            file.seek(max(0, size_bytes - TAIL_BYTES))
            tail = file.read(TAIL_BYTES)
    except OSError:
        return False
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    if head.startswith(b"\x89PNG"):
        return b"IEND" in tail
    if head.startswith(b"RIFF"):
        return size_bytes >= 8 + int.from_bytes(head[4:8], "little")
    if head.startswith(b"BM"):
        return size_bytes >= int.from_bytes(head[2:6], "little")
    return True  # not an image: the decoder reports it
