"""One frame of a source, for those who want to see what it sees."""

from __future__ import annotations

import queue
import threading
import time

from incv3d.frames import Frame
from incv3d.sources.base import OpenSource, SourceError


def take_frame(open_source: OpenSource, settle_s: float, timeout_s: float) -> Frame:
    """Open a source, give the camera `settle_s` to find its exposure, and take a frame.

    :param timeout_s: beyond it the source is left alone with what it does.
    :raises SourceError: when it cannot be opened, or gives no frame in time.
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
