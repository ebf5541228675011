"""Send a test image through the pipeline, to see whether frames get through."""

from __future__ import annotations

from collections.abc import Callable

from incv3d.frames import OWN, Frame
from incv3d.images.demo import demo_folder
from incv3d.pipeline.frame_queue import FrameQueue

PROBE_IMAGE = "cat.jpg"


def read_probe_image() -> bytes:
    """Return one of the bundled photographs, as JPEG."""
    return (demo_folder() / PROBE_IMAGE).read_bytes()


class Probe:
    """Queue the test image like a frame of a camera. Its result is neither published nor counted.

    :param read_image: returns the encoded image; called at the first probe.
    """

    def __init__(self, frame_queue: FrameQueue, read_image: Callable[[], bytes] = read_probe_image) -> None:
        self._frame_queue = frame_queue
        self._read_image = read_image
        self._image = b""

    def send(self, now: float) -> None:
        """Queue the test image, captured at `now` (monotonic)."""
        self._image = self._image or self._read_image()
        self._frame_queue.replace(Frame(OWN, self._image, None, received=now, captured=now, top_k=1))
