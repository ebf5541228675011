"""Generated requests over HTTP.

Every request whose body is framed as its head says has to get exactly one answer, whatever else is wrong with
it, and after it the connection is closed or serves the next request. Requests in a pipeline are answered in
order. Beside them come requests that are cut off, framed wrongly or no HTTP at all, and clients that leave;
these get no server error either.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import threading
import time

from fuzzer import PATIENCE_S, Fuzzer, GoodFrame
from http_requests import Request, broken, classify, classify_headers, generated

from all_doors import AllDoors
from incv3d.transports.http.classify import STATUS

REQUESTS = 12
"""Of each round."""
LOOK_S = 0.03
"""How long a broken request is given to be answered."""
RESET = b"\1\0\0\0\0\0\0\0"
"""struct linger: on, 0 seconds."""
STATUSES = {200, 204, 206, 303, 304, 400, 401, 403, 404, 405, 408, 413, 414, 416, 417, 431, 503, 504}
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")


class Closed(Exception):
    """The daemon has closed the connection."""


class Response:
    """One answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, is_last: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.is_last = is_last
        """Whether the daemon closes the connection after it."""

    def __str__(self) -> str:
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Connection:
    """A connection that reads exactly what answers consist of."""

    def __init__(self, host: tuple[str, int]) -> None:
        self.socket = socket.create_connection(host, PATIENCE_S)
        self._data = b""
        self._deadline = 0.0

    def send(self, data: bytes) -> None:
        """Send it all; a daemon that has seen enough may have closed, and its answer may be there."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def read(self, is_head: bool = False) -> Response:
        """The next answer that is not ``100 Continue``.

        :param is_head: the request was HEAD, whose answer has no body unless aiohttp cannot read it.
        :raises Closed: there is none.
        :raises TimeoutError: it does not end.
        """
        self._deadline = time.monotonic() + PATIENCE_S
        status = 100
        while status == 100:
            head = self._until(b"\r\n\r\n")
            match = STATUS_LINE.match(head)
            assert match, f"not an answer: {head[:200]!r}"
            status = int(match[1])
        lines = head[match.end() :].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        said = headers.get("connection", "").lower()
        is_last = said != "keep-alive" if head.startswith(b"HTTP/1.0") else said == "close"
        if (is_head and not (is_last and status == 400)) or status in (204, 304):
            body = b""
        elif "chunked" in headers.get("transfer-encoding", ""):
            body = self._chunks()
        elif "content-length" in headers:
            body = self._take(int(headers["content-length"]))
        else:
            body, is_last = self._rest(), True
        return Response(status, headers, body, is_last)

    def is_closed(self) -> bool:
        """Whether the daemon closes the connection without another byte."""
        self._deadline = time.monotonic() + PATIENCE_S
        return not self._data and not self._more()

    def look(self) -> bytes:
        """What comes within a moment."""
        self.socket.settimeout(LOOK_S)
        found = b""
        try:
            while data := self.socket.recv(65536):
                found += data
        except OSError:  # the time is over, or it was reset
            pass
        return found

    def leave(self, rng: random.Random) -> None:
        """Close it, politely or not."""
        if rng.random() < 0.3:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def _more(self) -> bool:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"it does not end after {self._data[-200:]!r}")
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._data += data
        return bool(data)

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            if not self._more():
                raise Closed(f"closed after {self._data[:200]!r}")
        head, _, self._data = self._data.partition(end)
        return head + end[:2]

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            assert self._more(), f"an answer is cut off after {self._data[:200]!r}"
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._take(size)
            self._take(2)
        self._take(2)
        return body

    def _rest(self) -> bytes:
        while self._more():
            pass
        rest, self._data = self._data, b""
        return rest


class HttpFuzzer(Fuzzer):
    """A connection for each request or pipeline, and one that stays."""

    name = "HTTP"

    def __init__(self, doors: AllDoors, good: GoodFrame, end: threading.Event) -> None:
        super().__init__(doors, good, end)
        self._good = 0

    def round(self, seed: int) -> None:
        """Send some requests, each by itself, in a pipeline, or broken."""
        rng = random.Random(seed)
        for _ in range(REQUESTS):
            match rng.randrange(6):
                case 0 | 1 | 2:
                    self._send_one(generated(rng, self.doors.token), rng)
                case 3:
                    self._send_pipeline(rng)
                case _:
                    self._send_broken(rng)
        connection = Connection(self.doors.host)
        self._classify(connection)
        connection.leave(rng)

    def close(self) -> None:
        """Nothing stays open between the rounds."""

    def _send_one(self, request: Request, rng: random.Random) -> None:
        self.sent[request.method if request.method.isalpha() else "other methods"] += 1
        connection = Connection(self.doors.host)
        connection.send(request.data)
        response = self._answer(connection, request)
        if response.is_last or request.may_end_connection:
            if response.is_last:
                assert connection.is_closed(), f"an answer too many came to {request}"
        elif rng.random() < 0.1:
            self._classify(connection)
        else:
            connection.send(b"GET /healthz HTTP/1.1\r\n" + classify_headers(self.doors.token) + b"\r\n")
            try:
                health = connection.read()
            except Closed:
                assert request.is_refused_early(response.status), f"closed without notice after {request}"
            except TimeoutError as error:
                raise AssertionError(f"no answer after {request}: {error}") from None
            else:
                assert health.status == 200 and health.body.startswith(b"ok"), f"{health} after {request}"
        connection.leave(rng)

    def _send_pipeline(self, rng: random.Random) -> None:
        requests = [classify(rng, self.doors.token, number) for number in range(rng.randrange(2, 6))]
        self.sent["in a pipeline"] += len(requests)
        connection = Connection(self.doors.host)
        connection.send(b"".join(request.data for request in requests))
        for number, request in enumerate(requests):
            response = self._answer(connection, request)
            assert json.loads(response.body)["id"] == str(number), f"another's answer: {response}"
        connection.leave(rng)

    def _send_broken(self, rng: random.Random) -> None:
        self.uncounted += 1
        connection = Connection(self.doors.host)
        data = broken(rng, self.doors.token)
        connection.send(data)
        if rng.random() < 0.7:
            for status in STATUS_LINE.findall(connection.look()):
                assert int(status) in STATUSES | {100}, f"{status} for {data[:2000]!r}"
        connection.leave(rng)

    def _answer(self, connection: Connection, request: Request) -> Response:
        try:
            response = connection.read(request.method == "HEAD")
        except Closed as error:
            raise AssertionError(f"no answer to {request}: {error}") from None
        except TimeoutError:
            raise AssertionError(f"unanswered within {PATIENCE_S} s: {request}") from None
        assert response.status in STATUSES, f"{response} to {request}"
        if response.headers.get("content-type", "").startswith("application/json") and response.body:
            answer = json.loads(response.body)
            code = self.code_of(answer)
            expected = 200 if code == "ok" else STATUS[answer["code"]]
            assert response.status == expected, f"{response} to {request}"
            self.answers[code] += 1
        else:
            self.answers[str(response.status)] += 1
        return response

    def _classify(self, connection: Connection) -> None:
        while True:
            self._good += 1
            head = (
                f"POST /classify?id=good{self._good} HTTP/1.1\r\nContent-Length: {len(self.good.picture)}\r\n"
            )
            connection.send(head.encode() + classify_headers(self.doors.token) + b"\r\n" + self.good.picture)
            try:
                answer = json.loads(connection.read().body)
            except (Closed, TimeoutError) as error:
                raise AssertionError(f"a good frame got no answer: {error!r}") from None
            assert answer["id"] == f"good{self._good}", f"an answer too many came: {answer}"
            if not self.pause_if_busy(answer):
                self.expect_labels(answer)
                return
