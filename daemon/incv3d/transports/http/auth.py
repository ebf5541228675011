"""Access to HTTP: with a token, clients that send it; without one, programs of this machine."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from incv3d.config.checks import is_loopback
from incv3d.protocol.secret_file import advice_if_denied, make_command, read_secret
from incv3d.transports.http.connections import Connections
from incv3d.transports.http.errors import HttpUnusable
from incv3d.transports.http.login import LOGIN, has_pass, is_open

SHORTEST_TOKEN = 16
LARGEST_TOKEN_FILE = 4096
NEW_TOKEN = "openssl rand -hex 32"
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""What a proxy adds: it runs on this machine, and whom it speaks for does not."""
FROM_PAGE = "X-Incv3d-Page"
"""A header that the page's own requests carry. A page from elsewhere cannot add it: its reader's browser
would ask first (a CORS preflight), and is refused."""
FOREIGN = "a page from elsewhere cannot ask for this\n"
WANTED = "the token of http.token_file is needed, as `Authorization: Bearer TOKEN`\n"
NOT_OWN = (
    "without http.token_file only programs of this machine are served, by the name localhost and not through "
    "a proxy; with it, `Authorization: Bearer TOKEN` is needed\n"
)
FULL = "too many connections are open; close some and try again\n"


def read_token(path: Path) -> str:
    """The one word in the file at `path`.

    :raises HttpUnusable: the file cannot be read, or what is in it is no token.
    """
    try:
        text = read_secret(path, "http.token_file", LARGEST_TOKEN_FILE + 1).decode("ascii")
    except PermissionError as error:
        advice = advice_if_denied(path)
        raise HttpUnusable(f"http.token_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except OSError as error:
        advice = make_command(path, NEW_TOKEN)
        raise HttpUnusable(f"http.token_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except UnicodeDecodeError:
        text = ""
    if len(text) > LARGEST_TOKEN_FILE:
        raise HttpUnusable(
            f"http.token_file: {path}: holds more than {LARGEST_TOKEN_FILE} bytes, which is no token: "
            + make_command(path, NEW_TOKEN)
        )
    text = text.strip()
    if len(text) < SHORTEST_TOKEN or not text.isprintable() or " " in text:
        raise HttpUnusable(
            f"http.token_file: {path}: must hold one word of {SHORTEST_TOKEN} characters or more: "
            + make_command(path, NEW_TOKEN)
        )
    return text


def gate(token: str | None, connections: Connections) -> Middleware:
    """Return a middleware that answers 401 to requests without access.

    With a token every request must show it, one from loopback too: a proxy on this machine comes from there,
    and speaks for anybody. A browser that has not given the token yet is sent to the form.

    :param connections: counts the connections that made an accepted request.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_same_site(request):
            return web.Response(status=403, text=FOREIGN)
        is_known = has_token(request, token) or has_pass(request, token) if token else is_own(request)
        if is_known and not connections.admit(request.protocol):
            full = web.Response(status=503, text=FULL)
            full.force_close()
            return full
        if is_known or is_open(request.path):
            return await handler(request)
        if not token:
            return web.Response(status=401, text=NOT_OWN)
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(LOGIN)
        return web.Response(status=401, text=WANTED, headers={"WWW-Authenticate": "Bearer"})

    return check


def is_same_site(request: web.Request) -> bool:
    """Return whether no page from elsewhere made its reader's browser send this request.

    Browsers say so in ``Sec-Fetch-Site``, whatever a proxy does to ``Host``, but over plain HTTP to localhost
    alone (W3C Fetch Metadata, 2.3). Of the others, those of the page carry its header; the form's ``Origin``
    need not match, because the form carries the token.
    """
    if request.method in ("GET", "HEAD") or request.path == LOGIN:
        return True
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or FROM_PAGE in request.headers or origin.partition("://")[2] == host_of(request)


def host_of(request: web.Request) -> str:
    """Return the header ``Host``; aiohttp's ``request.host`` queries a name server if it is missing."""
    return request.headers.get("Host", "")


def is_own(request: web.Request) -> bool:
    """Return whether a program of this machine asks, for itself.

    A page from elsewhere can let its reader's browser ask this machine by a name of the page's own that
    resolves to it (DNS rebinding), so the name that was asked for must be this machine's too.
    """
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not peer or any(name in request.headers for name in FORWARDED):
        return False
    address = ip_address(peer[0].partition("%")[0])
    return address.is_loopback and is_loopback(_name_in(host_of(request)))


def has_token(request: web.Request, token: str) -> bool:
    """Whether the request carries `token`; it takes as long to say no, however much of it is right."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    sent = given.strip().encode("utf-8", "surrogateescape")  # what is no UTF-8 comes like that
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())


def _name_in(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""
