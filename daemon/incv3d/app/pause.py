"""Pass wishes to pause the source, or to resume, from any thread to the main thread."""

from __future__ import annotations

from collections.abc import Callable


class PauseWish:
    """The latest wish to pause or to resume; of several before the main thread handles them, the last counts.

    :param on_wish: called when there is a wish to :meth:`take`.
    """

    def __init__(self, on_wish: Callable[[], None]) -> None:
        self._on_wish = on_wish
        self._wanted = self._is_queued = False

    def put(self, wanted: bool) -> None:
        """Pause with True, resume with False; any thread may call this."""
        self._wanted = wanted
        if not self._is_queued:
            self._is_queued = True
            self._on_wish()

    def take(self) -> bool:
        """Return the latest wish."""
        self._is_queued = False  # before the wish is read, so that a later one is queued again
        return self._wanted
