"""A web camera on loopback that answers as a test tells it to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from doubles import jpeg

USER, PASSWORD = "viewer", "p@ss:w/rd"


class Request(BaseHTTPRequestHandler):
    """One request of the daemon; what it is answered is the test's affair."""

    server: WebCamera

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        # Who looks hangs up when it has seen enough.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.server.answer(self)

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.wfile.write(piece)

    def send_whole(self, body: bytes, kind: str = "image/jpeg", status: int = 200) -> None:
        self.head(status, Content_Type=kind, Content_Length=len(body))
        self.send(body)

    def wait(self) -> None:
        """Say nothing more until the test ends."""
        self.server.over.wait(60)

    def pause(self, s: float = 0.05) -> bool:
        """Whether to send another picture; False at the end of the test."""
        return not self.server.over.wait(s)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class WebCamera(ThreadingHTTPServer):
    """:param answer: what is done for each request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[Request], None], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()
        self._scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def url(self, path: str = "/video", login: str = "") -> str:
        return f"{self._scheme}://{login}127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextlib.contextmanager
def web_camera(answer: Callable[[Request], None], tls: ssl.SSLContext | None = None) -> Iterator[WebCamera]:
    camera = WebCamera(answer, tls)
    thread = threading.Thread(target=camera.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield camera
    finally:
        camera.over.set()
        camera.shutdown()
        camera.server_close()


def pictures(count: int = 100) -> Iterator[bytes]:
    """Different small JPEGs."""
    for seed in range(count):
        yield jpeg(64, 48, seed=seed)


def parts(
    before: bytes = b"--frame\r\n",
    head: bytes = b"Content-Type: image/jpeg\r\n\r\n",
    after: bytes = b"\r\n",
    kind: str = "multipart/x-mixed-replace; boundary=frame",
    first_before: bytes | None = None,
    cut: int = 0,
    pause_s: float = 0.05,
) -> Callable[[Request], None]:
    """A stream of parts; ``%d`` in `head` is the picture's length."""

    def answer(request: Request) -> None:
        request.head(Content_Type=kind)
        for number, picture in enumerate(pictures()):
            lead = first_before if first_before is not None and not number else before
            given = head.replace(b"%d", b"%d" % len(picture))
            request.send(lead + given + picture[: len(picture) - cut] + after)
            if not request.pause(pause_s):
                return

    return answer


def chunked(answer: Callable[[Request], None], size: int = 777) -> Callable[[Request], None]:
    """What `answer` sends, in chunks that end where they like."""

    def send(request: Request) -> None:
        request.protocol_version = "HTTP/1.1"
        plain_head, plain_send = request.head, request.send

        def head(status: int = 200, **headers: object) -> None:
            plain_head(status, **headers, Transfer_Encoding="chunked")

        def send_chunks(*pieces: bytes) -> None:
            data = b"".join(pieces)
            for at in range(0, len(data), size):
                piece = data[at : at + size]
                plain_send(b"%x\r\n%s\r\n" % (len(piece), piece))

        request.head, request.send = head, send_chunks  # type: ignore[method-assign]
        answer(request)
        plain_send(b"0\r\n\r\n")

    return send


def compressed(answer: Callable[[Request], None]) -> Callable[[Request], None]:
    """What `answer` sends, compressed with gzip."""

    def send(request: Request) -> None:
        plain_head, plain_send = request.head, request.send
        packer = zlib.compressobj(wbits=31)

        def head(status: int = 200, **headers: object) -> None:
            plain_head(status, **headers, Content_Encoding="gzip")

        def send_packed(*pieces: bytes) -> None:
            plain_send(packer.compress(b"".join(pieces)), packer.flush(zlib.Z_SYNC_FLUSH))

        request.head, request.send = head, send_packed  # type: ignore[method-assign]
        answer(request)
        plain_send(packer.flush())

    return send


def behind_basic(answer: Callable[[Request], None]) -> Callable[[Request], None]:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def guarded(request: Request) -> None:
        if request.headers.get("Authorization") == expected:
            answer(request)
        else:
            request.head(401, WWW_Authenticate='Basic realm="camera"', Content_Length=0)

    return guarded


def behind_digest(answer: Callable[[Request], None]) -> Callable[[Request], None]:
    """HTTP Digest, as RFC 7616 has it, with MD5."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    def guarded(request: Request) -> None:
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', request.headers.get("Authorization", "")))
        secret = md5(f"{USER}:camera:{PASSWORD}")
        asked = md5(f"GET:{request.path}")
        key = ":".join([secret, "abc123", said.get("nc", ""), said.get("cnonce", ""), "auth", asked])
        if said.get("response") == md5(key):
            answer(request)
        else:
            challenge = 'Digest realm="camera", nonce="abc123", qop="auth", algorithm=MD5'
            request.head(401, WWW_Authenticate=challenge, Content_Length=0)

    return guarded


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate as cameras have it: signed by themselves."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=camera"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
