"""Take a single frame from a source."""

from __future__ import annotations

import queue
import threading
import time

from incv3d.frames import Frame
from incv3d.sources.base import OpenSource, SourceError


def take_frame(open_source: OpenSource, settle_s: float, timeout_s: float) -> Frame:
    """Open a source, wait until the camera has adjusted its exposure, and return a frame.

    :param settle_s: how long the camera takes for that; 0: return its first frame.
    :param timeout_s: after this time the source is abandoned.
    :raises SourceError: it cannot be opened, or delivers no frame in time.
    """
    results: queue.SimpleQueue[Frame | Exception] = queue.SimpleQueue()

    def take() -> None:
        try:
            source = open_source()
            try:
                first = source.capture(0.0)
                later = source.capture(time.monotonic() + settle_s) if first and settle_s else None
                results.put(later or first or SourceError("the source has no frames"))
            finally:
                source.close()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            results.put(error)

    threading.Thread(target=take, name="take-frame", daemon=True).start()
    try:
        result = results.get(timeout=settle_s + timeout_s)
    except queue.Empty:
        raise SourceError(f"no frame within {settle_s + timeout_s:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result
