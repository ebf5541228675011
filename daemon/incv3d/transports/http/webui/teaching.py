"""Routes of the page that teaches: its requests, as JSON, and its images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web

from incv3d.protocol import messages
from incv3d.teaching.errors import TeachingError
from incv3d.transports.http.body import read_body
from incv3d.transports.teaching import Teacher, TeachingStatus

PAGE = Path(__file__).with_name("static") / "teach.html"
LARGEST_REQUEST = 256 * 1024
"""Bytes of a request: the ids of some thousand pictures."""
BODY_TIMEOUT_S = 30.0
NEVER_STORED = {"Cache-Control": "no-store"}
Answer = TypeVar("Answer")
Order = TypeVar("Order", bound=msgspec.Struct)


class Begin(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /teach/begin``."""

    name: str


class Capture(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /teach/capture``."""

    source: str
    class_name: str = msgspec.field(name="class")


class Selection(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /teach/move``, ``/teach/delete`` and ``/teach/review``."""

    ids: list[str]
    class_name: str | None = msgspec.field(name="class", default=None)


class Training(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /teach/train``."""

    force: bool = False


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A request that says all in its address."""


class TeachingRoutes:
    """Let browsers teach. What reads or writes the disk runs in a thread of its own, one after the other.

    :param max_bytes: the largest picture that may be sent.
    """

    def __init__(self, teacher: Teacher, max_bytes: int) -> None:
        self._teacher = teacher
        self._max_bytes = max_bytes
        self._disk = ThreadPoolExecutor(1, "teaching-page")

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return all routes."""
        teacher = self._teacher

        def delete(order: Selection) -> None:
            teacher.delete(order.ids)

        def move(order: Selection) -> None:
            if not order.class_name:
                raise TeachingError("`class` is missing: the class to move the pictures to")
            teacher.move(order.ids, order.class_name)

        return [
            web.get("/teach", _page),
            web.get("/teach/state", self._state),
            web.get("/teach/pictures", self._pictures),
            web.post("/teach/pictures", self._add),
            web.get(r"/teach/picture/{id:[\w.-]{1,120}}", self._picture),
            web.get("/teach/review", self._reviews),
            web.get(r"/teach/review/{id:[\w.-]{1,120}}", self._review_image),
            self._order("begin", Begin, lambda order: teacher.begin(order.name)),
            self._order("capture", Capture, lambda order: teacher.capture(order.source, order.class_name)),
            self._order("move", Selection, move),
            self._order("delete", Selection, delete),
            self._order("undo", Nothing, lambda order: teacher.undo()),
            self._order("review", Selection, lambda order: teacher.decide(order.ids, order.class_name)),
            self._order("train", Training, lambda order: teacher.train(order.force)),
            self._order("use", Nothing, lambda order: teacher.use()),
        ]

    def close(self) -> None:
        """Begin nothing more."""
        self._disk.shutdown(wait=False, cancel_futures=True)

    def _order(self, path: str, kind: type[Order], work: Callable[[Order], object]) -> web.AbstractRouteDef:
        """Return the route of a request that changes something; its answer is the state afterwards."""

        async def handle(request: web.Request) -> web.Response:
            try:
                body = await read_body(request, LARGEST_REQUEST, BODY_TIMEOUT_S, "the request")
                order = msgspec.json.decode(bytes(body) or b"{}", type=kind)
            except (messages.BadRequest, msgspec.DecodeError, UnicodeDecodeError) as error:
                return _complain(400, str(error))
            return await self._answer(lambda: work(order))

        return web.post(f"/teach/{path}", handle)

    async def _answer(self, work: Callable[[], object]) -> web.Response:
        def work_and_look() -> TeachingStatus:
            work()
            return self._teacher.status()

        try:
            return _json(await self._on_disk(work_and_look))
        except TeachingError as error:
            return _complain(409, str(error))

    async def _state(self, request: web.Request) -> web.Response:
        return _json(await self._on_disk(self._teacher.status))

    async def _pictures(self, request: web.Request) -> web.Response:
        class_name = request.query.get("class", "")
        try:
            return _json(await self._on_disk(lambda: self._teacher.pictures(class_name)))
        except TeachingError as error:
            return _complain(404, str(error))

    async def _add(self, request: web.Request) -> web.Response:
        try:
            data = await read_body(request, self._max_bytes, BODY_TIMEOUT_S, "the picture")
        except messages.BadRequest as error:
            return _complain(400, str(error))
        return await self._answer(lambda: self._teacher.add(bytes(data), request.query.get("class", "")))

    async def _picture(self, request: web.Request) -> web.Response:
        return await self._image(lambda: self._teacher.picture(request.match_info["id"]))

    async def _reviews(self, request: web.Request) -> web.Response:
        return _json(self._teacher.reviews())

    async def _review_image(self, request: web.Request) -> web.Response:
        return await self._image(lambda: self._teacher.review_image(request.match_info["id"]))

    async def _image(self, work: Callable[[], bytes]) -> web.Response:
        try:
            data = await self._on_disk(work)
        except TeachingError:
            return web.Response(status=204, headers=NEVER_STORED)  # no error: it may just be gone
        # A picture's id names its content, so that a browser may keep it.
        headers = {"Cache-Control": "private, max-age=3600"}
        return web.Response(body=data, content_type="image/jpeg", headers=headers)

    async def _on_disk(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


async def _page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE, headers={"Cache-Control": "no-cache"})


def _json(content: msgspec.Struct | Sequence[msgspec.Struct]) -> web.Response:
    body = msgspec.json.encode(content)
    return web.Response(body=body, content_type="application/json", headers=NEVER_STORED)


def _complain(status: int, detail: str) -> web.Response:
    body = msgspec.json.encode({"detail": detail})
    return web.Response(body=body, status=status, content_type="application/json", headers=NEVER_STORED)
