"""Makes requests of HTTP: right ones, ones with something wrong in them, and broken ones."""

from __future__ import annotations

import gzip
import random
import zlib
from dataclasses import dataclass
from urllib.parse import quote

from fuzzer import MAX_MESSAGE_BYTES, VALUES, some_picture

from message_strategies import PICTURES, mutated

METHODS = (
    ["POST"] * 8 + ["GET"] * 6 + ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "M-SEARCH", "post"]
)
PATHS = [
    *["/classify"] * 8,
    *["/login"] * 2,
    *["/", "/metrics", "/healthz", "/readyz", "/picture/camera", "/thumbnail/1", "/page/main.js"],
    *[
        "/page/",
        "/page",
        "/page/../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/page.py",
        "//classify",
        "/classify/",
    ],
    *[
        "/thumbnail/999999999999999999999",
        "/picture/",
        "/picture/%00",
        "/%ff",
        "*",
        "http://elsewhere/classify",
    ],
]
LIVE = "/live"
"""It does not end if it is got."""
WORDS = ["id", "encoding", "width", "height", "captured_at", "age_ms", "ttl_ms", "top_k", "v", "colour"]
FORM = "application/x-www-form-urlencoded"
TYPES = [
    "image/jpeg",
    "image/png",
    "text/html",
    FORM,
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    ";",
    "",
]
FIELDS = {
    "Origin": ["null", "http://elsewhere", "http://127.0.0.1", "x"],
    "Sec-Fetch-Site": ["cross-site", "same-origin", "none", "x"],
    "Accept": ["text/html", "*/*", "application/openmetrics-text", "a" * 2000],
    "Accept-Encoding": ["gzip", "identity;q=0", "br", "*"],
    "Cookie": ["incv3d=x", "incv3d", "=", ";;;", 'incv3d="\\'],
    "Range": ["bytes=0-0", "bytes=5-1", "bytes=-0", "bytes=99999999-", "lines=1"],
    "If-Modified-Since": ["Mon, 01 Jan 2035 00:00:00 GMT", "x"],
    "If-Range": ["x", '"x"'],
    "If-None-Match": ["*", '"x"', "x,,"],
    "Connection": ["close", "keep-alive", "Upgrade", "x"],
    "Upgrade": ["websocket", "h2c", "x"],
    "X-Forwarded-For": ["10.0.0.1", "x"],
    "Content-Type": TYPES,
    "Content-Encoding": ["gzip", "deflate", "br", "identity", "x", "zstd"],
    "Expect": ["100-continue", "x"],
    "Authorization": ["Bearer", "Basic eDp4", "Bearer x", "Bearer \u00e4", ""],
}


@dataclass(frozen=True)
class Request:
    """One request as it is sent."""

    method: str
    data: bytes

    @property
    def may_end_connection(self) -> bool:
        """Whether what follows on the connection may not be HTTP any more."""
        return b"\r\nUpgrade:" in self.data

    def is_refused_early(self, status: int) -> bool:
        """Whether the daemon may have left a part of the body unread, or undecoded; then it closes."""
        has_body = not self.data.endswith(b"\r\n\r\n") or b"chunked" in self.data
        return has_body and status in (303, 400, 401, 403, 404, 405, 413, 417)

    def __str__(self) -> str:
        return repr(self.data[:3000])


def classify_headers(token: str) -> bytes:
    """The header lines of a guest."""
    return f"Host: localhost\r\nAuthorization: Bearer {token}\r\n".encode()


def classify(rng: random.Random, token: str, number: int) -> Request:
    """A right request with a picture that may be wrong; its answer has `number` as its id."""
    body = some_picture(rng)
    lines, framed = framed_body(body, rng)
    head = f"POST /classify?id={number} HTTP/1.1\r\n".encode() + classify_headers(token)
    return Request("POST", head + lines + b"\r\n" + framed)


def generated(rng: random.Random, token: str) -> Request:
    """A request that has a right frame, and anything in it."""
    method = rng.choice(METHODS)
    version = rng.choice(["1.1"] * 9 + ["1.0"])
    body = b"" if method in ("GET", "HEAD") else some_body(rng)
    target = LIVE if method != "GET" and rng.random() < 0.05 else some_target(rng)
    lines = [f"{method} {target} HTTP/{version}".encode(), *some_fields(rng, token)]
    if version == "1.0" or not body:
        framing, framed = (f"Content-Length: {len(body)}\r\n".encode() if body else b""), body
    else:
        framing, framed = framed_body(body, rng)
    if not body and method in ("POST", "PUT", "PATCH"):
        framing = b"Content-Length: 0\r\n"
    return Request(method, b"\r\n".join(lines) + b"\r\n" + framing + b"\r\n" + framed)


def broken(rng: random.Random, token: str) -> bytes:
    """Bytes that are not one whole request."""
    data = generated(rng, token).data
    match rng.randrange(7):
        case 0:
            return data[: rng.randrange(len(data))]
        case 1:
            length = rng.choice(
                ["-1", "x", "1,2", "99999999999999999999", "+5", "0x10", "5 5", "1\r\nContent-Length: 2"]
            )
            return data.replace(b"\r\n", f"\r\nContent-Length: {length}\r\n".encode(), 1)
        case 2:
            coding = rng.choice(["chunked, x", "x", "chunked, chunked", "identity", ""])
            return data.replace(b"\r\n", f"\r\nTransfer-Encoding: {coding}\r\n".encode(), 1)
        case 3:
            head = (
                b"POST /classify HTTP/1.1\r\n"
                + classify_headers(token)
                + b"Transfer-Encoding: chunked\r\n\r\n"
            )
            return head + rng.choice(
                [b"x\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"5\r\nab", b"3\r\nabcd\r\n0\r\n\r\n"]
            )
        case 4:
            return rng.randbytes(rng.randrange(500))
        case 5:
            head = b"GET / HTTP/1.1\r\n" + classify_headers(token)
            return head + rng.choice(
                [b"a: b\r\n" * 3000, b"x" * 100_000, b": \r\n\r\n", b"a b: c\r\n\r\n", b"a:\0\r\n\r\n"]
            )
        case _:
            return b"".join(mutated([data[:3000]], rng))


def framed_body(body: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    """The header lines that say how long `body` is, and the body as it is sent."""
    if rng.random() < 0.6:
        return f"Content-Length: {len(body)}\r\n".encode(), body
    framed, size = b"", rng.choice([1 + len(body) // 3, 1 + len(body) // 50, max(1, len(body))])
    extension = rng.choice([b"", b"", b";a=b", b";a"])
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        framed += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
    trailer = rng.choice([b"", b"", b"A: b\r\n"])
    return b"Transfer-Encoding: chunked\r\n", framed + b"0\r\n" + trailer + b"\r\n"


def some_body(rng: random.Random) -> bytes:
    """A picture, a form, a compressed body that may be a bomb, or too much."""
    match rng.randrange(10):
        case 0:
            return b""
        case 1:
            return b"token=" + quote(rng.randbytes(30)).encode()
        case 2:
            return rng.choice([gzip.compress, zlib.compress])(some_picture(rng))
        case 3:
            return gzip.compress(bytes(rng.choice([100, MAX_MESSAGE_BYTES + 1, 20_000_000])), 1)
        case 4:
            return bytes(rng.choice([MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, 3 * MAX_MESSAGE_BYTES]))
        case 5:
            return PICTURES["jpeg"]
        case _:
            return some_picture(rng)


def some_target(rng: random.Random) -> str:
    """What the request asks for."""
    path = rng.choice(PATHS) if rng.random() < 0.95 else "/" + quote(rng.randbytes(rng.choice([5, 50, 2000])))
    if rng.random() < 0.4:
        words = [f"{rng.choice(WORDS)}={quote(rng.choice(VALUES))}" for _ in range(rng.randrange(1, 4))]
        path += "?" + rng.choice(["&", "&", "&&", ";"]).join(words)
    return path


def some_fields(rng: random.Random, token: str) -> list[bytes]:
    """Header lines, of a guest as a rule."""
    lines = [b"Host: localhost"] if rng.random() < 0.9 else []
    if rng.random() < 0.8:
        lines.append(f"Authorization: Bearer {token}".encode())
    while rng.random() < 0.5:
        name = rng.choice(sorted(FIELDS))
        lines.append(f"{name}: {rng.choice(FIELDS[name])}".encode())
    if rng.random() < 0.05:
        lines.append(b"X-Any: " + bytes(rng.randrange(32, 127) for _ in range(rng.choice([10, 1000, 5000]))))
    return lines
