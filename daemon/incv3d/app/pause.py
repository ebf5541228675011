"""Pass requests to pause or resume the source from any thread to the main thread."""

from __future__ import annotations

from collections.abc import Callable


class PauseRequest:
    """The latest request to pause or resume; earlier ones that the main thread has not taken do not count.

    :param on_request: called when there is a request to :meth:`take`.
    """

    def __init__(self, on_request: Callable[[], None]) -> None:
        self._on_request = on_request
        self._wanted = self._is_queued = False

    def put(self, wanted: bool) -> None:
        """Pause with True, resume with False; any thread may call this."""
        self._wanted = wanted
        if not self._is_queued:
            self._is_queued = True
            self._on_request()

    def take(self) -> bool:
        """Return the latest request: True to pause."""
        self._is_queued = False  # before the request is read, so that a later one is queued again
        return self._wanted
