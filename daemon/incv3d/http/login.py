"""``/login``: a browser on another machine gives the token once, and has a cookie from then on."""

from __future__ import annotations

import hmac
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

LOGIN = "/login"
COOKIE = "incv3d"
LASTS_S = 30 * 24 * 3600
ASSETS = "/page/"


def login_routes(form: Path, token: str | None) -> list[web.AbstractRouteDef]:
    """The form, and where it is sent to.

    :param form: the file with the form.
    """

    async def show(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(form, headers={"Cache-Control": "no-cache"})

    async def check(request: web.Request) -> web.StreamResponse:
        fields = parse_qs((await request.read()).decode(errors="replace"))
        given = fields.get("token", [""])[0].strip()
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            raise web.HTTPSeeOther(f"{LOGIN}?wrong")
        response = web.HTTPSeeOther("/")
        response.set_cookie(
            COOKIE, pass_of(token), max_age=LASTS_S, httponly=True, samesite="Strict", secure=request.secure
        )
        raise response

    return [web.get(LOGIN, show), web.post(LOGIN, check)]


def is_open(path: str) -> bool:
    """Whether everybody may have it: the form, and the files of the page, which tell nothing."""
    return path == LOGIN or path.startswith(ASSETS)


def pass_of(token: str) -> str:
    """What the cookie holds: it shows that the token was known, and is void when there is another token."""
    return hmac.digest(token.encode(), b"incv3d page", "sha256").hex()


def has_pass(request: web.Request, token: str) -> bool:
    """Whether the request comes from a browser that was given the token."""
    given = request.cookies.get(COOKIE, "").encode("utf-8", "surrogateescape")  # what is no UTF-8 comes so
    return hmac.compare_digest(given, pass_of(token).encode())
