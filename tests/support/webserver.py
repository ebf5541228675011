"""A real web server on loopback that misbehaves as a test tells it to."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_S = 60


@dataclass
class Site:
    """What the server has and does."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, ``/model.tgz``."""
    steps: list[Callable[[Handler], None]] = field(default_factory=list)
    """What is done for the next requests, one each; afterwards they are served as they should be."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """The requests that came: path and headers."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set: whoever stalls may go on."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set by a step that has sent what it sends and stalls."""

    def url(self, path: str = "/model.tgz") -> str:
        return f"{self.address}{path}"

    def ranges(self) -> list[str]:
        """The `Range` that each request asked for, empty where it asked for everything."""
        return [headers.get("Range", "") for _, headers in self.asked]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append((self.path, dict(self.headers)))
        step = self.site.steps.pop(0) if self.site.steps else serve()
        with contextlib.suppress(ConnectionError):
            step(self)
        self.close_connection = True

    do_CONNECT = do_GET

    def content(self) -> bytes:
        # A proxy is asked by the whole URL.
        return self.site.files["/" + self.path.rpartition("/")[2]]

    def log_message(self, format: str, *arguments: object) -> None:
        pass


Step = Callable[[Handler], None]


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def serve(
    stop_after: int | None = None,
    ranges: bool = True,
    validators: bool = True,
    stall: bool = False,
    length: int | None = None,
    with_length: bool = True,
) -> Step:
    """The file, or the rest of it that was asked for.

    :param stop_after: break off after so many bytes ...
    :param stall: ... or keep the connection and send no more.
    :param length: what `Content-Length` says, if not the truth.
    """

    def step(handler: Handler) -> None:
        content = handler.content()
        start, status = 0, 200
        asked = handler.headers.get("Range", "")
        if asked and ranges and handler.headers["If-Range"] == etag(content):
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        handler.send_response(status)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if with_length:
            handler.send_header("Content-Length", str(len(content) - start if length is None else length))
        if validators:
            handler.send_header("ETag", etag(content))
        handler.end_headers()
        handler.wfile.write(content[start:][:stop_after])
        handler.wfile.flush()
        if stall:
            handler.site.stalled.set()
            handler.site.released.wait(PATIENCE_S)

    return step


def answer(status: int, body: bytes = b"", **headers: str) -> Step:
    def step(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return step


def redirect(location: str, status: int = 302) -> Step:
    return answer(status, Location=location)


def chunked(handler: Handler) -> None:
    """The file in chunks, without saying how large it is."""
    send_chunks(handler, handler.content(), end=True)


def chunked_broken(handler: Handler) -> None:
    """Half of the file in chunks, and no last one."""
    content = handler.content()
    send_chunks(handler, content[: len(content) // 2], end=False)


def send_chunks(handler: Handler, content: bytes, end: bool) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(content), 10_000):
        chunk = content[start : start + 10_000]
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    handler.wfile.write(b"0\r\n\r\n" if end else b"")


def silence(handler: Handler) -> None:
    """Takes the request and says nothing."""
    handler.site.stalled.set()
    handler.site.released.wait(PATIENCE_S)


def nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00\xffthis is no HTTP\r\n\r\n")


@contextlib.contextmanager
def web_server(files: dict[str, bytes] | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server on a free port, while the block runs."""
    site = Site(files=files or {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    site.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
