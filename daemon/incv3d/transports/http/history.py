"""``GET /history``: what was seen, as JSON, and the saved images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from incv3d.events.image_folder import is_own
from incv3d.history.answers import answer, parse_request
from incv3d.history.database import HistoryError

NEVER_STORED = {"Cache-Control": "no-store"}


class HistoryRoutes:
    """Answers questions in a thread of its own, one after the other.

    :param path: the file of the history.
    :param images: the folder where images are saved; empty: none are.
    """

    def __init__(self, path: Path, images: str) -> None:
        self._path = path
        self._images = images
        self._disk = ThreadPoolExecutor(1, "history-page")

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return all routes."""
        return [web.get("/history", self._history), web.get("/history/image/{name}", self._image)]

    def reconfigure(self, images: str) -> None:
        """Use another folder of images."""
        self._images = images

    def close(self) -> None:
        """Answer no more questions."""
        self._disk.shutdown(wait=False, cancel_futures=True)

    async def _history(self, request: web.Request) -> web.Response:
        try:
            asked = parse_request(request.query)
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n", headers=NEVER_STORED)
        if not await self._run(self._path.exists):
            return web.json_response({"by": asked.by, "rows": []}, headers=NEVER_STORED)
        try:
            found = await self._run(answer, self._path, asked)
        except HistoryError as error:
            return web.Response(status=503, text=f"{error}\n", headers=NEVER_STORED)
        return web.json_response(found, headers=NEVER_STORED)

    async def _image(self, request: web.Request) -> web.StreamResponse:
        """Return an image that the daemon saved; no other file of the folder."""
        name = request.match_info["name"]
        if not self._images or not is_own(name):
            return web.Response(status=404, text="no such image\n", headers=NEVER_STORED)
        file = Path(self._images) / name
        if not await self._run(file.is_file):
            return web.Response(status=404, text="the image was deleted\n", headers=NEVER_STORED)
        return web.FileResponse(file)

    async def _run(self, work: Callable[..., Any], *values: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *values)
