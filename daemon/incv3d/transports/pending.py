"""Open requests and their answers, each sent exactly once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from incv3d.frames import FrameId, Refusal, Result
from incv3d.protocol import messages
from incv3d.transports.admission import Rejection


class PendingRequest(Protocol):
    """What every transport keeps of a request."""

    @property
    def id(self) -> FrameId:
        """Return what its sender calls it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer."""

    data: bytes
    """The JSON."""
    rejection: Rejection | None = None
    """Why there are no predictions; None: there are."""


Request = TypeVar("Request", bound=PendingRequest)


class PendingRequests(Generic[Request]):
    """The requests of one transport that have no answer yet, by request_id. Any thread may call all methods.

    The first answer to a request is sent, and no other. There is no lock, because single operations of a
    dictionary are atomic.

    :param source: the source of the transport's frames; results of others have no request here.
    :param identity: returns the names of model and engine, for the answers.
    :param queue_depth: returns how many frames wait, for the answers.
    :param on_rejected: called for every request that does not reach the pipeline.
    :param send: sends an answer.
    """

    def __init__(
        self,
        source: str,
        identity: Callable[[], tuple[str, str]],
        queue_depth: Callable[[], int],
        on_rejected: Callable[[Refusal], None],
        send: Callable[[Request, Answer], None],
    ) -> None:
        self._source = source
        self._identity = identity
        self._queue_depth = queue_depth
        self._on_rejected = on_rejected
        self._send = send
        self._open: dict[int, Request] = {}
        self._request_ids = itertools.count(1)

    def __len__(self) -> int:
        """Return the number of requests without an answer."""
        return len(self._open)

    def add(self, request: Request) -> int:
        """Register a request, and return its request_id."""
        request_id = next(self._request_ids)
        self._open[request_id] = request
        return request_id

    def requests(self) -> list[Request]:
        """Return the requests without an answer."""
        return list(self._open.values())

    def encode(self, result: Result) -> bytes:
        """Return the JSON of a result."""
        return messages.answer(result, *self._identity(), self._queue_depth())

    def deliver(self, result: Result, data: bytes = b"") -> None:
        """Answer the request of a result, if it came through this transport and is still open.

        :param data: the JSON of the result, if it is encoded already.
        """
        if result.source != self._source or result.request_id is None:
            return
        if result.request_id not in self._open:
            return
        # Encoded before the request is taken out: if that fails, it still gets an answer at the end.
        answer = Answer(
            data or self.encode(result),
            Rejection(result.refusal, result.detail) if result.refusal else None,
        )
        if (request := self._open.pop(result.request_id, None)) is not None:
            self._send(request, answer)

    def answer(self, request_id: int, data: bytes) -> None:
        """Answer a request with `data`, if it is still open."""
        if (request := self._open.pop(request_id, None)) is not None:
            self._send(request, Answer(data))

    def reject(self, request_id: int, rejection: Rejection) -> None:
        """Answer a request that does not reach the pipeline, if it is still open."""
        if (request := self._open.get(request_id)) is None:
            return
        data = messages.refuse(
            rejection.refusal, rejection.detail, request.id, self._queue_depth(), rejection.retry_ms
        )
        if self._open.pop(request_id, None) is not None:
            self._on_rejected(rejection.refusal)
            self._send(request, Answer(data, rejection))

    def reject_all(self, rejection: Rejection) -> None:
        """Answer all requests that are still open."""
        for request_id in list(self._open):
            self.reject(request_id, rejection)

    def discard(self, request_id: int) -> None:
        """Forget a request whose sender is gone."""
        self._open.pop(request_id, None)
