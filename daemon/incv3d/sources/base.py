"""The ``FrameSource`` protocol, and the thread that moves frames from a source to the mailbox."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from incv3d.errors import Incv3dError
from incv3d.frames import Frame
from incv3d.mailbox import Mailbox


class SourceError(Incv3dError):
    """A source cannot be opened, or gives no more frames."""


class FrameSource(Protocol):
    """Something that captures frames."""

    @property
    def name(self) -> str:
        """The name under which its results are published."""

    def capture(self) -> Frame | None:
        """Wait for the next frame; None when there are no more, or :meth:`close` was called.

        :raises SourceError: when capturing fails.
        """

    def close(self) -> None:
        """Let go of the device, and wake a :meth:`capture` that waits. Callable from any thread."""


class Capture:
    """The capture thread of one source: every frame goes to the mailbox, where it replaces an older one.

    :param on_dropped: told of every frame that was replaced before it was classified.
    :param on_end: told the source's name when it has no more frames.
    :param on_death: told the thread's name and the error when capturing cannot go on.
    """

    def __init__(
        self,
        source: FrameSource,
        mailbox: Mailbox,
        on_dropped: Callable[[], None],
        on_end: Callable[[str], None],
        on_death: Callable[[str, Exception], None],
    ) -> None:
        self._source = source
        self._mailbox = mailbox
        self._on_dropped = on_dropped
        self._on_end = on_end
        self._on_death = on_death
        self._thread = threading.Thread(target=self._run, name=f"capture-{source.name}", daemon=True)

    def start(self) -> None:
        """Begin to capture."""
        self._thread.start()

    def close(self) -> None:
        """Stop capturing."""
        self._source.close()

    def _run(self) -> None:
        try:
            while (frame := self._source.capture()) is not None:
                if self._mailbox.replace(frame):
                    self._on_dropped()
            self._on_end(self._source.name)
        except Exception as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
            self._on_death(self._thread.name, error)
