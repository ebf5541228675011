"""Source type ``images``: image files, replayed at a fixed rate, or classified as they appear in a folder."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from pathlib import Path

from incv3d.config.source import SourceSection
from incv3d.frames import Frame
from incv3d.sources.backend import SourceBackend
from incv3d.sources.base import FrameSource, OpenSource, SourceError
from incv3d.sources.image_files import SUFFIXES, find_images, read_image, shown_name
from incv3d.sources.local_paths import check_local_path

LOG = logging.getLogger(__name__)


class ImagesSource:
    """Replays image files at a fixed rate.

    :param path: a file, a folder or a glob pattern.
    :param fps: images per second; 0: as fast as they are classified.
    :param loop: start again after the last image; otherwise the source ends.
    :raises SourceAbsent: there are no images at `path`.
    """

    lost_frames = 0
    idle_until = 0.0

    def __init__(self, name: str, path: str, fps: float, loop: bool) -> None:
        self._name = name
        self._images = find_images(path)
        self._interval_s = 1 / fps if fps else 0.0
        self._loop = loop
        self._next = 0
        self._due = time.monotonic()
        self._interrupted = threading.Event()

    def capture(self, after: float) -> Frame | None:
        """Return the next image when it is due; None after the last one or after :meth:`interrupt`.

        :raises SourceError: none of the images can be read any more.
        """
        for _ in range(len(self._images)):
            if self._next == len(self._images):
                if not self._loop:
                    return None
                self._next = 0
            if self._interrupted.wait(max(0.0, max(self._due, after) - time.monotonic())):
                return None
            image = self._images[self._next]
            self._next += 1
            now = time.monotonic()
            # A replay that fell behind continues from now instead of catching up in a burst.
            self._due = max(self._due + self._interval_s, now)
            try:
                data = read_image(image)
            except SourceError as error:
                LOG.warning("%s", error)
            else:
                return Frame(self._name, data, None, received=now, captured=now, id=shown_name(image.name))
        raise SourceError("none of the images can be read any more")

    def interrupt(self) -> None:
        """End the replay."""
        self._interrupted.set()

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _opener(section: SourceSection) -> OpenSource:
    if not section.watch:
        return partial(_open, section)
    # The state outlives the source, so that a folder that is reopened yields no image twice.
    from incv3d.sources.folder import FolderSource, FolderState
    from incv3d.sources.folder_watch import FolderWatch

    return partial(FolderSource, section.name, FolderState(FolderWatch(section.path.reveal())))


def _open(section: SourceSection) -> FrameSource:
    fps = section.fps or (0.0 if section.every_frame else section.chosen_fps)
    return ImagesSource(section.name, section.path.reveal(), fps, section.loop)


def _check(section: SourceSection) -> None:
    path = section.path.reveal()
    if section.watch and Path(path).suffix.lower() in SUFFIXES:
        path = str(Path(path).parent)  # the image itself may still appear
    check_local_path(section, path)


IMAGES = SourceBackend(opener=_opener, check=_check)
