"""Save frames as images in a separate thread, so that a slow disk delays nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from incv3d.events.image_folder import ImageFolder
from incv3d.events.labelled_image import ImageToSave, rendered, stem
from incv3d.threads import OnDeath, start_thread

LOG = logging.getLogger(__name__)
OnSaved = Callable[[ImageToSave, Path], None]
"""Called with a frame that was written, and the path of its image."""
MOST_WAITING = 8
MOST_WAITING_BYTES = 16 * 1024 * 1024
"""The most bytes of frames that wait for a slow disk; a single larger frame waits alone."""
RETRY_S = 10.0
"""How long no image is written after a failure."""


class ImageSaver:
    """Writes frames to a folder, as far as the disk keeps up.

    If an image cannot be written, the daemon continues and logs it once; when images can be written again,
    it logs that, too.

    :param on_death: called with the thread's name and the error when the thread dies.
    """

    def __init__(
        self,
        folder: ImageFolder,
        on_saved: OnSaved,
        on_death: OnDeath,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._on_saved = on_saved
        self._on_death = on_death
        self._retry_s = retry_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[ImageToSave] = deque()
        self._waiting_bytes = 0
        self._closed = False
        self._failure_reason = ""
        self._try_again = 0.0
        self._saved = self._dropped = self._failed = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, which counts what the folder contains and then writes."""
        self._thread = start_thread("saving", self._work, self._on_death)

    def offer(self, image: ImageToSave) -> bool:
        """Queue a frame to be written. Callable from any thread; never blocks.

        :returns: False if too many frames wait already: the frame is dropped and counted.
        """
        size_bytes = len(image.frame.data)
        with self._changed:
            full = len(self._waiting) >= MOST_WAITING or self._waiting_bytes + size_bytes > MOST_WAITING_BYTES
            if self._closed or (self._waiting and full):
                self._dropped += 1
                return False
            self._waiting.append(image)
            self._waiting_bytes += size_bytes
            self._changed.notify()
        return True

    def close(self, timeout_s: float) -> bool:
        """Write what waits and stop; return False after `timeout_s`: the thread is abandoned."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """Return, for ``stats``, how many images were written and failed, why, and what the folder holds."""
        return {
            "saved": self._saved,
            "dropped": self._dropped,
            "failed": self._failed,
            "trouble": self._failure_reason,
            "files": len(self._folder),
            "bytes": self._folder.size_bytes,
        }

    def _work(self) -> None:
        try:
            self._folder.open()
        except OSError as error:
            self._note_failure(error)
        while image := self._next():
            if self._failure_reason and self._clock() < self._try_again:
                self._failed += 1
                continue
            try:
                self._save(image)
            except OSError as error:
                self._failed += 1
                self._note_failure(error)
            except Exception:
                # An encoder's bug must cost one image, not the daemon.
                self._failed += 1
                LOG.exception("a frame of %s could not be encoded", image.frame.source)

    def _next(self) -> ImageToSave | None:
        """Return the next frame to write; None once the saver is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            image = self._waiting.popleft()
            self._waiting_bytes -= len(image.frame.data)
        return image

    def _save(self, image: ImageToSave) -> None:
        file = rendered(image)
        if self._failure_reason:
            self._folder.open()
        path = self._folder.keep(stem(image), file.suffix, file.data, file.metadata)
        self._saved += 1
        self._on_saved(image, path)
        LOG.debug("%s: written", path)
        if self._failure_reason:
            LOG.warning("%s: images are written again", self._folder.path)
        self._failure_reason = ""

    def _note_failure(self, error: OSError) -> None:
        if not self._failure_reason:
            LOG.warning(
                "%s: images cannot be saved (%s); continuing without", self._folder.path, error.strerror
            )
        self._failure_reason = error.strerror or str(error)
        self._try_again = self._clock() + self._retry_s
