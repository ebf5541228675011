"""Worker threads: guarded start, activity markers and wake-up pipes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

OnDeath = Callable[[str, BaseException], None]
"""Called with the thread's name and the error when a thread ends with an exception."""


def start_thread(name: str, target: Callable[[], object], on_death: OnDeath) -> threading.Thread:
    """Start a thread that reports its death: the daemon must know, and decides what follows.

    The process does not wait for the thread when it ends.
    """

    def run() -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - passed on, whatever it is
            on_death(name, error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class Activity:
    """Mark what a thread is doing, so that others can see how long it takes: ``with activity: ...``.

    :param name: the thread's name.
    :param what: its activity, for people: ``running the Session``.
    """

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        self.begun = 0
        """The number of pieces of work begun so far."""
        self.busy = False

    def __enter__(self) -> None:
        self.begun += 1
        self.busy = True

    def __exit__(self, *error: object) -> None:
        self.busy = False


class WakePipe:
    """Wake a thread that polls descriptors. It polls the read end, a descriptor as well: ``poll(pipe)``."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._reader

    def wake(self) -> None:
        """Wake the thread. Any thread may call this, even after :meth:`close`, when it does nothing."""
        # The lock: once closed, the number of the descriptor may belong to another file.
        # A pipe full of earlier calls means that the thread is about to wake anyway.
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._closed:
                os.write(self._writer, b"\0")

    def clear(self) -> None:
        """Take notice of all calls so far; the thread does this when it was woken."""
        os.read(self._reader, 4096)

    def close(self) -> None:
        """Close both descriptors."""
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self._writer)
