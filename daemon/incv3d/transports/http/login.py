"""``/login``: a browser gives the token once, and has a cookie from then on."""

from __future__ import annotations

import hmac
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from incv3d.frames import Refusal
from incv3d.protocol import messages
from incv3d.transports.http.body import read_body

LOGIN = "/login"
COOKIE = "incv3d"
LASTS_S = 30 * 24 * 3600
ASSETS = "/page/"
LARGEST_FORM = 16 * 1024
"""Bytes; a token of the largest size, every character of it written as ``%XX``, fits."""
MOST_FIELDS = 4
SLOW_S = 10.0
"""Seconds until the form must have arrived."""


def login_routes(form: Path, token: str | None) -> list[web.AbstractRouteDef]:
    """The form, and where it is sent to.

    :param form: the file with the form.
    """

    async def show(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(form, headers={"Cache-Control": "no-cache"})

    async def check(request: web.Request) -> web.StreamResponse:
        try:
            body = await read_body(request, LARGEST_FORM, SLOW_S, "the form")
        except messages.BadRequest as error:
            status = 413 if error.refusal is Refusal.TOO_LARGE else 400
            return web.Response(status=status, text=f"{error}\n")
        given = _token_in(bytes(body).decode(errors="replace"))
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            raise web.HTTPSeeOther(f"{LOGIN}?wrong")
        response = web.HTTPSeeOther("/")
        # The browser's own word, because a proxy that ends TLS need not say so.
        is_encrypted = request.headers.get("Origin", "").startswith("https://")
        response.set_cookie(
            COOKIE, pass_of(token), max_age=LASTS_S, httponly=True, samesite="Strict", secure=is_encrypted
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


def _token_in(form: str) -> str:
    try:
        fields = parse_qs(form, max_num_fields=MOST_FIELDS)
    except ValueError:  # more of them
        return ""
    return fields.get("token", [""])[0].strip()
