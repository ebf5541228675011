"""``/login``: a browser gives the token once, and gets a cookie for later requests."""

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
COOKIE_AGE_S = 30 * 24 * 3600
ASSETS = "/page/"
FORM = Path(__file__).with_name("webui") / "static" / "login.html"
"""The page where a browser gives the token."""
LARGEST_FORM = 16 * 1024
"""Bytes; a token of the largest size, every character of it written as ``%XX``, fits."""
MOST_FIELDS = 4
FORM_TIMEOUT_S = 10.0
"""The time to receive the form."""


def login_routes(form: Path, token: str | None) -> list[web.AbstractRouteDef]:
    """Return the routes that show and receive the form.

    :param form: the file with the form.
    """

    async def show(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(form, headers={"Cache-Control": "no-cache"})

    async def check(request: web.Request) -> web.StreamResponse:
        try:
            body = await read_body(request, LARGEST_FORM, FORM_TIMEOUT_S, "the form")
        except messages.BadRequest as error:
            status = 413 if error.refusal is Refusal.TOO_LARGE else 400
            return web.Response(status=status, text=f"{error}\n")
        given = _token_in(bytes(body).decode(errors="replace"))
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            raise web.HTTPSeeOther(f"{LOGIN}?wrong")
        response = web.HTTPSeeOther("/")
        # What the browser says, because a proxy that terminates TLS need not say so.
        is_encrypted = request.headers.get("Origin", "").startswith("https://")
        response.set_cookie(
            COOKIE,
            cookie_of(token),
            max_age=COOKIE_AGE_S,
            httponly=True,
            samesite="Strict",
            secure=is_encrypted,
        )
        raise response

    return [web.get(LOGIN, show), web.post(LOGIN, check)]


def is_public(path: str) -> bool:
    """Return whether `path` needs no token: the form and the files of the web UI, which hold no data."""
    return path == LOGIN or path.startswith(ASSETS)


def cookie_of(token: str) -> str:
    """Return the value of the cookie: it proves that the token was known, and expires with the token."""
    return hmac.digest(token.encode(), b"incv3d page", "sha256").hex()


def has_session_cookie(request: web.Request, token: str) -> bool:
    """Return whether the request comes from a browser that has given the token."""
    given = request.cookies.get(COOKIE, "").encode(
        "utf-8", "surrogateescape"
    )  # invalid UTF-8 arrives like this
    return hmac.compare_digest(given, cookie_of(token).encode())


def _token_in(form: str) -> str:
    try:
        fields = parse_qs(form, max_num_fields=MOST_FIELDS)
    except ValueError:  # more of them
        return ""
    return fields.get("token", [""])[0].strip()
