"""Who is let in: this machine's own programs as they are, everybody else with the token."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from incv3d.config.checks import is_loopback
from incv3d.http.errors import HttpUnusable
from incv3d.http.login import LOGIN, has_pass, is_open
from incv3d.secretfile import make_command, protect_command, read_secret

SHORTEST_TOKEN = 16
LARGEST_TOKEN_FILE = 4096
NEW_TOKEN = "openssl rand -hex 32"
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""What a proxy adds: it runs on this machine, and whom it speaks for does not."""
FOREIGN = "a page from elsewhere cannot ask for this\n"
WANTED = "another machine needs the token of http.token_file, as `Authorization: Bearer TOKEN`\n"


def read_token(path: Path) -> str:
    """The one word in the file at `path`.

    :raises HttpUnusable: the file cannot be read, or what is in it is no token.
    """
    try:
        text = read_secret(path, "http.token_file", LARGEST_TOKEN_FILE).decode("ascii").strip()
    except PermissionError as error:
        advice = protect_command(path)
        raise HttpUnusable(f"http.token_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except OSError as error:
        advice = make_command(path, NEW_TOKEN)
        raise HttpUnusable(f"http.token_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except UnicodeDecodeError:
        text = ""
    if len(text) < SHORTEST_TOKEN or not text.isprintable() or " " in text:
        raise HttpUnusable(
            f"http.token_file: {path}: must hold one word of {SHORTEST_TOKEN} characters or more: "
            + make_command(path, NEW_TOKEN)
        )
    return text


def gate(token: str | None) -> Middleware:
    """A middleware that answers 401 to whoever is neither of this machine nor has the `token`.

    A browser that has not given it yet is sent to the form where it can.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_same_site(request):
            return web.Response(status=403, text=FOREIGN)
        if is_own(request) or (token and (has_token(request, token) or has_pass(request, token))):
            return await handler(request)
        if is_open(request.path):
            return await handler(request)
        if token and request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(LOGIN)
        return web.Response(status=401, text=WANTED, headers={"WWW-Authenticate": "Bearer"})

    return check


def is_same_site(request: web.Request) -> bool:
    """Whether it is no change that a page from elsewhere lets its reader's browser ask for."""
    origin = request.headers.get("Origin")
    if request.method in ("GET", "HEAD") or origin is None:
        return True
    return origin.partition("://")[2] == request.host


def is_own(request: web.Request) -> bool:
    """Whether a program of this machine asks, for itself.

    A page from elsewhere can let its reader's browser ask this machine by a name of the page's own that
    resolves to it (DNS rebinding), so the name that was asked for must be this machine's too.
    """
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not peer or any(name in request.headers for name in FORWARDED):
        return False
    address = ip_address(peer[0].partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback and is_loopback(_host_of(request.host))


def has_token(request: web.Request, token: str) -> bool:
    """Whether the request carries `token`; it takes as long to say no, however much of it is right."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    sent = given.strip().encode("utf-8", "surrogateescape")  # what is no UTF-8 comes like that
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())


def _host_of(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""
