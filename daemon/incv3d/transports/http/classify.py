"""``POST /classify``: a picture over HTTP, and what the model says of it."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from aiohttp import web

from incv3d.config.schema import IntakeSection
from incv3d.frames import Frame, Refusal, Result
from incv3d.protocol import messages
from incv3d.protocol.clocks import SenderClocks
from incv3d.protocol.text_header import KEYS, parse_text_request
from incv3d.transports.admission import Admission, Rejection
from incv3d.transports.answers import Answers
from incv3d.transports.http.auth import host_of
from incv3d.transports.http.body import read_body
from incv3d.transports.http.holds import Holds

MOST_BODIES = 4
"""Pictures that may be on their way into memory at once; further senders wait until it is their turn."""
SLOW_S = 30.0
"""A picture must be here within so long."""
STATUS: dict[Refusal, int] = {
    Refusal.BUSY: 503,
    Refusal.EXPIRED: 504,
    Refusal.BAD_IMAGE: 400,
    Refusal.BAD_REQUEST: 400,
    Refusal.TOO_LARGE: 413,
    Refusal.SHUTTING_DOWN: 503,
    Refusal.INTERNAL: 500,
}

Answered = tuple[Refusal | None, bytes, int | None]
"""Why there are no predictions, the JSON, and when to send it again (ms)."""


class ClassifyHandler:
    """Takes pictures, and answers each with the JSON that ZeroMQ would be answered with.

    :param section: what is admitted of a picture.
    :param admission: puts a frame in line, or says why not.
    :param answers: makes the JSON.
    :param on_refused: told of every such frame.
    """

    def __init__(
        self,
        section: IntakeSection,
        admission: Admission,
        answers: Answers,
        on_refused: Callable[[Refusal], None],
    ) -> None:
        self._section = section
        self._admission = admission
        self._answers = answers
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._open: dict[int, Future[Answered]] = {}
        self._request_ids = itertools.count(1)
        self._clocks = SenderClocks()
        self._bodies = asyncio.Semaphore(MOST_BODIES)
        self._holds = Holds()

    def routes(self) -> list[web.AbstractRouteDef]:
        """The one route, and a word for who takes it the wrong way."""
        return [web.post("/classify", self._classify), web.route("*", "/classify", _explain)]

    def deliver(self, result: Result) -> None:
        """Answer `result`, if its frame came this way; callable from any thread."""
        if result.source == messages.HTTP_SOURCE and result.request_id is not None:
            self._reply(result.request_id, (result.refusal, self._answers.answer(result), None))

    def adjust(self, section: IntakeSection) -> None:
        """Admit pictures by another section from now on."""
        self._section = section

    def close(self, refusal: Refusal, detail: str) -> None:
        """Answer what is still open with `refusal`."""
        for request_id in list(self._open):
            self._on_refused(refusal)
            self._reply(request_id, (refusal, self._answers.refuse(refusal, detail, None), None))

    async def _classify(self, request: web.Request) -> web.Response:
        request_id, answer = next(self._request_ids), Future[Answered]()
        with self._lock:
            self._open[request_id] = answer
        try:
            denial = await self._admit(request, request_id)
            if denial and denial.refusal is Refusal.BUSY:
                denial = await self._hold(request, denial, answer)
            if denial:
                self._on_refused(denial.refusal)
                refusal, id, retry_ms = denial.refusal, request.query.get("id"), denial.retry_ms
                said = self._answers.refuse(refusal, denial.detail, id, retry_ms)
                return _response(refusal, said, retry_ms)
            return _response(*await asyncio.wrap_future(answer))
        finally:  # whether it was answered, or its sender is gone
            with self._lock:
                self._open.pop(request_id, None)

    async def _admit(self, request: web.Request, request_id: int) -> Rejection | None:
        try:
            frame = await self._frame(request)
        except messages.BadRequest as error:
            return Rejection(error.refusal, str(error))
        denial = self._admission.admit(replace(frame, request_id=request_id), others=self._holds.held)
        if denial is None:
            self._holds.admit(request, frame.received)
        return denial

    async def _hold(
        self, request: web.Request, denial: Rejection, answer: Future[Answered]
    ) -> Rejection | None:
        """Return the refusal that is due; later if its sender came too early, None if `answer` came first."""
        hold_s = self._holds.hold_s(request, time.monotonic())
        if hold_s > 0 and await self._holds.wait(request, answer, hold_s):  # the daemon is stopping
            return None
        if denial.retry_ms is not None:
            self._holds.tell(request, time.monotonic() + denial.retry_ms / 1000)
        return denial

    async def _frame(self, request: web.Request) -> Frame:
        words = dict(request.query)
        if unknown := sorted(words.keys() - KEYS):
            raise messages.BadRequest(f"query: `{unknown[0]}` is none of {', '.join(sorted(KEYS))}")
        if request.content_type == "multipart/form-data":
            raise messages.BadRequest("send the picture itself, not a form: curl --data-binary @PICTURE")
        section = self._section
        async with self._bodies:
            data = await read_body(request, section.max_message_bytes, SLOW_S, "the picture")
        received, sender = time.monotonic(), request.remote or "?"
        age_s = partial(self._clocks.age_s, sender.encode(), lambda: sender, received)
        now = messages.Clocks(received, time.time(), age_s)
        return parse_text_request(
            words, data, messages.HTTP_SOURCE, "query", now, section.ttl_ms, section.max_message_bytes
        )

    def _reply(self, request_id: int, answer: Answered) -> None:
        with self._lock:
            waiting = self._open.pop(request_id, None)
        if waiting and waiting.set_running_or_notify_cancel():  # its sender may be gone
            waiting.set_result(answer)


async def _explain(request: web.Request) -> web.Response:
    url = f"{host_of(request)}{request.path}"
    said = f"send a picture with POST: curl --data-binary @PICTURE {url}\n"
    return web.Response(status=405, text=said, headers={"Allow": "POST"})


def _response(refusal: Refusal | None, said: bytes, retry_ms: int | None) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if retry_ms is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_ms / 1000)))
    status = 200 if refusal is None else STATUS[refusal]
    return web.Response(body=said + b"\n", status=status, content_type="application/json", headers=headers)
