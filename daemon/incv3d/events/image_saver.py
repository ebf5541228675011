"""Keeps frames as pictures, in a thread of its own: a slow disk holds up nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from incv3d.events.image_folder import ImageFolder
from incv3d.events.labelled_image import ImageToSave, rendered, stem

LOG = logging.getLogger(__name__)
MOST_WAITING = 8
MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Of frames that wait for a slow disk; a single larger one waits alone."""
RETRY_S = 10.0
"""After a failure the disk is left alone for so long."""


class ImageSaver:
    """Writes the frames that it is offered to a folder, as far as the disk keeps up.

    When a picture cannot be written, the daemon goes on, and its log says so once; when pictures can be
    written again, it says that too.

    :param on_death: told the thread's name and the error when the thread cannot go on.
    """

    def __init__(
        self,
        folder: ImageFolder,
        on_death: Callable[[str, BaseException], None],
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._on_death = on_death
        self._retry_s = retry_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[ImageToSave] = deque()
        self._waiting_bytes = 0
        self._closed = False
        self._trouble = ""
        self._try_again = 0.0
        self._saved = self._dropped = self._failed = 0
        self._thread = threading.Thread(target=self._guard, name="saving", daemon=True)

    def start(self) -> None:
        """Begin: look at the folder, and write what is offered."""
        self._thread.start()

    def offer(self, shot: ImageToSave) -> bool:
        """Have a frame written, soon; callable from any thread, never waits.

        :returns: False when too much waits for the disk already: it is dropped, and counted.
        """
        size_bytes = len(shot.frame.data)
        with self._changed:
            full = len(self._waiting) >= MOST_WAITING or self._waiting_bytes + size_bytes > MOST_WAITING_BYTES
            if self._closed or (self._waiting and full):
                self._dropped += 1
                return False
            self._waiting.append(shot)
            self._waiting_bytes += size_bytes
            self._changed.notify()
        return True

    def close(self, timeout_s: float) -> bool:
        """Write what waits, and end; False when that took longer: the thread is left behind."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """For ``stats``: pictures written since the start, not written and why, and what the folder holds."""
        return {
            "saved": self._saved,
            "dropped": self._dropped,
            "failed": self._failed,
            "trouble": self._trouble,
            "files": len(self._folder),
            "bytes": self._folder.size_bytes,
        }

    def _guard(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
            self._on_death(self._thread.name, error)

    def _work(self) -> None:
        try:
            self._folder.open()
        except OSError as error:
            self._note_failure(error)
        while shot := self._next():
            if self._trouble and self._clock() < self._try_again:
                self._failed += 1
                continue
            try:
                self._save(shot)
            except OSError as error:
                self._failed += 1
                self._note_failure(error)
            except Exception:
                # An encoder's bug must cost one picture, not the daemon.
                self._failed += 1
                LOG.exception("a frame of %s could not be made a picture", shot.frame.source)

    def _next(self) -> ImageToSave | None:
        """The next frame to write; None once the saver is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            shot = self._waiting.popleft()
            self._waiting_bytes -= len(shot.frame.data)
        return shot

    def _save(self, shot: ImageToSave) -> None:
        kept = rendered(shot)
        if self._trouble:
            self._folder.open()
        path = self._folder.keep(stem(shot), kept.suffix, kept.data, kept.beside)
        self._saved += 1
        LOG.debug("%s: written", path)
        if self._trouble:
            LOG.warning("%s: pictures are written again", self._folder.path)
        self._trouble = ""

    def _note_failure(self, error: OSError) -> None:
        if not self._trouble:
            LOG.warning(
                "%s: no picture can be written (%s); going on without", self._folder.path, error.strerror
            )
        self._trouble = error.strerror or str(error)
        self._try_again = self._clock() + self._retry_s
