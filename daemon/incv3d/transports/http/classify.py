"""``POST /classify``: classify an image sent over HTTP."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

from aiohttp import web

from incv3d.config.intake import IntakeSection
from incv3d.frames import Frame, FrameId, Refusal, Result
from incv3d.protocol import messages
from incv3d.protocol.clocks import SenderClocks
from incv3d.protocol.text_header import KEYS, parse_text_request
from incv3d.transports.admission import Admission, Rejection
from incv3d.transports.http.auth import host_of
from incv3d.transports.http.body import read_body
from incv3d.transports.http.holds import Holds
from incv3d.transports.pending import Answer, PendingRequests

MOST_BODIES = 4
"""Images that may be received into memory at once; further senders wait."""
BODY_TIMEOUT_S = 30.0
"""The time to receive an image."""
STATUS: dict[Refusal, int] = {
    Refusal.BUSY: 503,
    Refusal.EXPIRED: 504,
    Refusal.BAD_IMAGE: 400,
    Refusal.BAD_REQUEST: 400,
    Refusal.TOO_LARGE: 413,
    Refusal.SHUTTING_DOWN: 503,
    Refusal.INTERNAL: 500,
}


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that its handler waits to answer."""

    id: FrameId
    answer: Future[Answer] = field(default_factory=Future)


class ClassifyHandler:
    """Receive images, and answer each with the same JSON as over ZeroMQ.

    :param section: the limits for images.
    :param admission: queues a frame, or rejects it.
    :param identity: returns the names of model and engine.
    :param queue_depth: returns how many frames wait.
    :param on_rejected: called for every image that does not reach the pipeline.
    """

    def __init__(
        self,
        section: IntakeSection,
        admission: Admission,
        identity: Callable[[], tuple[str, str]],
        queue_depth: Callable[[], int],
        on_rejected: Callable[[Refusal], None],
    ) -> None:
        self._section = section
        self._admission = admission
        self._pending = PendingRequests[_Request](
            messages.HTTP_SOURCE, identity, queue_depth, on_rejected, _send
        )
        self._clocks = SenderClocks()
        self._bodies = asyncio.Semaphore(MOST_BODIES)
        self._holds = Holds()

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return ``POST /classify``, and a hint for those who use another method."""
        return [web.post("/classify", self._classify), web.route("*", "/classify", _explain)]

    def deliver(self, result: Result) -> None:
        """Answer `result`, if its frame came over HTTP. Any thread may call this."""
        self._pending.deliver(result)

    def reconfigure(self, section: IntakeSection) -> None:
        """Apply new limits."""
        self._section = section

    def close(self, refusal: Refusal, detail: str) -> None:
        """Answer all open requests with `refusal`."""
        self._pending.reject_all(Rejection(refusal, detail))

    async def _classify(self, request: web.Request) -> web.Response:
        pending = _Request(request.query.get("id"))
        request_id = self._pending.add(pending)
        answer = asyncio.wrap_future(pending.answer)
        try:
            rejection = await self._admit(request, request_id)
            if rejection:
                if rejection.refusal is Refusal.BUSY:
                    await self._hold(request, rejection, answer)
                self._pending.reject(request_id, rejection)
            return _response(await answer)
        finally:  # its sender may be gone
            self._pending.discard(request_id)

    async def _admit(self, request: web.Request, request_id: int) -> Rejection | None:
        try:
            frame = await self._frame(request)
        except messages.BadRequest as error:
            return Rejection(error.refusal, str(error))
        rejection = self._admission.admit(replace(frame, request_id=request_id), others=self._holds.held)
        if rejection is None:
            self._holds.admit(request, frame.received)
        return rejection

    async def _hold(self, request: web.Request, rejection: Rejection, answer: asyncio.Future[Answer]) -> None:
        """Wait until the rejection is due: later if its sender came too early, unless `answer` is there."""
        hold_s = self._holds.hold_s(request, time.monotonic())
        if hold_s > 0:
            await self._holds.wait(request, answer, hold_s)
        if rejection.retry_ms is not None and not answer.done():
            self._holds.tell(request, time.monotonic() + rejection.retry_ms / 1000)

    async def _frame(self, request: web.Request) -> Frame:
        words = dict(request.query)
        if unknown := sorted(words.keys() - KEYS):
            allowed = ", ".join(sorted(KEYS))
            raise messages.BadRequest(f"query: `{unknown[0]}` is unknown; allowed are {allowed}")
        if request.content_type == "multipart/form-data":
            raise messages.BadRequest("send the image itself, not a form: curl --data-binary @IMAGE")
        section = self._section
        async with self._bodies:
            data = await read_body(request, section.max_message_bytes, BODY_TIMEOUT_S, "the image")
        received, sender = time.monotonic(), request.remote or "?"
        age_s = partial(self._clocks.age_s, sender.encode(), lambda: sender, received)
        now = messages.Clocks(received, time.time(), age_s)
        return parse_text_request(
            words, data, messages.HTTP_SOURCE, "query", now, section.ttl_ms, section.max_message_bytes
        )


async def _explain(request: web.Request) -> web.Response:
    url = f"{host_of(request)}{request.path}"
    said = f"send an image with POST: curl --data-binary @IMAGE {url}\n"
    return web.Response(status=405, text=said, headers={"Allow": "POST"})


def _send(request: _Request, answer: Answer) -> None:
    if request.answer.set_running_or_notify_cancel():  # otherwise its sender is gone
        request.answer.set_result(answer)


def _response(answer: Answer) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    rejection = answer.rejection
    if rejection and rejection.retry_ms is not None:
        headers["Retry-After"] = str(max(1, math.ceil(rejection.retry_ms / 1000)))
    status = STATUS[rejection.refusal] if rejection else 200
    return web.Response(
        body=answer.data + b"\n", status=status, content_type="application/json", headers=headers
    )
