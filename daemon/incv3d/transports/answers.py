"""The JSON of answers, with what of the daemon belongs into it: the same whichever way a frame came."""

from __future__ import annotations

from collections.abc import Callable

from incv3d.frames import FrameId, Refusal, Result
from incv3d.protocol import messages


class Answers:
    """Makes answers; callable from any thread.

    :param identity: model and engine.
    :param queue_depth: frames that wait.
    """

    def __init__(self, identity: Callable[[], tuple[str, str]], queue_depth: Callable[[], int]) -> None:
        self._identity = identity
        self._queue_depth = queue_depth

    def answer(self, result: Result) -> bytes:
        """For a result."""
        return messages.answer(result, *self._identity(), self._queue_depth())

    def refuse(self, refusal: Refusal, detail: str, id: FrameId, retry_ms: int | None = None) -> bytes:
        """For a frame that never reached the pipeline."""
        return messages.refuse(refusal, detail, id, self._queue_depth(), retry_ms)
