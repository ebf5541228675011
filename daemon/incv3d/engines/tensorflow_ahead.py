"""Load TensorFlow's libraries while Python imports the rest of the daemon."""

from __future__ import annotations

import ctypes
import os
import queue  # noqa: F401 - see tensorflow_ahead
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from incv3d.engines.capi.library import LIBRARIES, LOG_LEVEL, find_libraries
from incv3d.engines.quiet_stderr import quiet_stderr


@contextmanager
def tensorflow_ahead() -> Iterator[None]:
    """Load TensorFlow's libraries in another thread while the block runs, and wait for them at its end.

    Loading takes half a second on a desktop machine and seconds on a Raspberry Pi 3. The C library loads one
    shared object at a time, so importing an extension module in the block gains nothing: import those before
    (of the daemon's own modules, only ``queue`` still has one by then).

    :raises LibraryMissing: TensorFlow is not installed. If libraries exist but cannot be loaded, the Session
        reports that.
    """
    thread = threading.Thread(target=_load, args=[find_libraries()], name="load-ahead", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _load(folder: Path) -> None:
    """Call ``dlopen`` as a function of the C library, because ``ctypes.CDLL`` holds the GIL."""
    os.environ.setdefault(*LOG_LEVEL)
    libc = ctypes.CDLL(None)
    libc.dlopen.argtypes, libc.dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    with quiet_stderr():
        for name in LIBRARIES:
            libc.dlopen(os.fsencode(folder.resolve() / name), os.RTLD_NOW)
