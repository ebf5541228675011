"""Authenticate HTTP clients by the token; without a token, serve programs on this machine only."""

from __future__ import annotations

import base64
import hmac
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from incv3d.config.checks import is_loopback
from incv3d.protocol.secret_file import advice_if_denied, make_command, read_secret
from incv3d.transports.errors import SettingError
from incv3d.transports.http.connections import Connections
from incv3d.transports.http.login import LOGIN, has_session_cookie, is_public

SHORTEST_TOKEN = 16
LARGEST_TOKEN_FILE = 4096
NEW_TOKEN = "openssl rand -hex 32"
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""Headers that a proxy adds: it may run on this machine, but its clients do not."""
FROM_PAGE = "X-Incv3d-Page"
"""A header of the web UI's own requests. Other sites cannot add it: the browser would ask first (a CORS
preflight), and be refused."""
FOREIGN = "other sites cannot send this request\n"
FOR_PROGRAMS = ("/stream/", "/snapshot/")
"""The paths for programs that know user names and passwords only, such as Home Assistant's camera and VLC."""
WANTED = "send the token of http.token_file, as `Authorization: Bearer TOKEN`\n"
NOT_OWN = (
    "without http.token_file only programs on this machine are served, under the name localhost and not "
    "through a proxy; with it, send `Authorization: Bearer TOKEN`\n"
)
FULL = "too many connections are open; close some and try again\n"


def read_token(path: Path) -> str:
    """Return the token in the file at `path`.

    :raises SettingError: the file cannot be read, or holds no token.
    """
    try:
        text = read_secret(path, "http.token_file", LARGEST_TOKEN_FILE + 1).decode("ascii")
    except PermissionError as error:
        advice = advice_if_denied(path)
        raise SettingError(f"http.token_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except OSError as error:
        advice = make_command(path, NEW_TOKEN)
        raise SettingError(f"http.token_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except UnicodeDecodeError:
        text = ""
    if len(text) > LARGEST_TOKEN_FILE:
        raise SettingError(
            f"http.token_file: {path}: holds more than {LARGEST_TOKEN_FILE} bytes, too many for a token: "
            + make_command(path, NEW_TOKEN)
        )
    text = text.strip()
    if len(text) < SHORTEST_TOKEN or not text.isprintable() or " " in text:
        raise SettingError(
            f"http.token_file: {path}: must hold one word of {SHORTEST_TOKEN} characters or more: "
            + make_command(path, NEW_TOKEN)
        )
    return text


def auth_middleware(token: str | None, connections: Connections) -> Middleware:
    """Return a middleware that answers 401 to requests without access.

    If there is a token, every request must carry it, even from loopback: a proxy on this machine comes from
    there, for any client. A browser that has not given the token yet is redirected to the form.

    :param connections: counts the connections with an accepted request.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_same_site(request):
            return web.Response(status=403, text=FOREIGN)
        if token:
            ways = (has_token, has_password, has_session_cookie)
            is_known = any(shows(request, token) for shows in ways)
        else:
            is_known = is_local(request)
        if is_known and not connections.admit(request.protocol):
            full = web.Response(status=503, text=FULL)
            full.force_close()
            return full
        if is_known or is_public(request.path):
            return await handler(request)
        if not token:
            return web.Response(status=401, text=NOT_OWN)
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(LOGIN)
        scheme = 'Basic realm="incv3d"' if is_for_programs(request) else "Bearer"
        return web.Response(status=401, text=WANTED, headers={"WWW-Authenticate": scheme})

    return check


def is_same_site(request: web.Request) -> bool:
    """Return whether the request does not come from a page of another site.

    Browsers say so in ``Sec-Fetch-Site``, whatever a proxy does to ``Host``, but over plain HTTP only to
    localhost (W3C Fetch Metadata, 2.3). Other requests of the web UI carry its header; the ``Origin`` of the
    form need not match, because the form carries the token.
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


def is_local(request: web.Request) -> bool:
    """Return whether the request comes from a program on this machine, and not through a proxy.

    Another site can make a browser on this machine send requests to a name of that site that resolves to this
    machine (DNS rebinding), so the name in the request must be this machine's, too.
    """
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not peer or any(name in request.headers for name in FORWARDED):
        return False
    address = ip_address(peer[0].partition("%")[0])
    return address.is_loopback and is_loopback(_name_in(host_of(request)))


def has_token(request: web.Request, token: str) -> bool:
    """Return whether the request carries `token`, in a time that does not depend on how much is right."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    sent = given.strip().encode("utf-8", "surrogateescape")  # invalid UTF-8 arrives like this
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())


def has_password(request: web.Request, token: str) -> bool:
    """Return whether the request only watches, and carries `token` as the password of any user (HTTP Basic).

    Nothing else takes a password: a browser that was asked for it once sends it with every request, also with
    those that a page of another site makes.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic" or not is_for_programs(request):
        return False
    try:
        sent = base64.b64decode(given.strip().encode("utf-8", "surrogateescape"), validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(sent.partition(b":")[2], token.encode())


def is_for_programs(request: web.Request) -> bool:
    """Return whether the request only watches a source."""
    return request.method == "GET" and request.path.startswith(FOR_PROGRAMS)


def _name_in(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""
