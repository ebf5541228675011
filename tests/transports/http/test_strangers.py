"""What strangers can cost: connections, time, memory and lines of the log, before they show the token."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from aiohttp import web

from incv3d.client import Client
from incv3d.config.network import HttpSection
from incv3d.images.demo import demo_folder
from incv3d.transports.http import login
from incv3d.transports.http.classify import MOST_BODIES
from incv3d.transports.http.connections import MOST_KNOWN, MOST_UNKNOWN
from incv3d.transports.http.login import FORM
from incv3d.transports.http.server import ACCEPTED_AT_ONCE, HttpServer
from processes import PATIENCE_S, DaemonProcess

TOKEN = "0123456789abcdef0123"
CAT = (demo_folder() / "cat.jpg").read_bytes()
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HEAD = b"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
MEGABYTE = b"a=b&" * 250_000
MOST_OPEN = MOST_UNKNOWN + 4 * ACCEPTED_AT_ONCE
"""Connections are counted some turns of the event loop after they were accepted."""


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def server(token_file: Path, tmp_path: Path) -> Iterator[HttpServer]:
    (tmp_path / "page").mkdir()
    (tmp_path / "page/large.js").write_bytes(bytes(50_000_000))

    async def wait(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="42")

    routes = [web.get("/", wait), web.post("/", wait), web.static("/page", tmp_path / "page")]
    section = HttpSection(bind="127.0.0.1:0", token_file=str(token_file))
    server = HttpServer(section, routes, lambda thread, error: None, form=FORM)
    server.open()
    server.start()
    yield server
    assert server.close(20)


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=PATIENCE_S)


def talk(server: HttpServer, sent: bytes) -> bytes:
    with connect(server) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(server: HttpServer, **headers: str) -> int:
    with closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request("GET", "/", headers=headers)
        return connection.getresponse().status


def is_open(connection: socket.socket) -> bool:
    """Whether the server holds it; asked of one that was sent nothing."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def descriptors(pid: int | str = "self") -> list[int]:
    return [int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()]


def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (b"Content-Length: %d\r\n\r\n%s" % (len(MEGABYTE), MEGABYTE), b" 413 "),
        (b"Transfer-Encoding: chunked\r\n\r\nF4240\r\n%s\r\n0\r\n\r\n" % MEGABYTE, b" 413 "),
        (b"Content-Length: 12000\r\n\r\n" + MEGABYTE[:12000], b"/login?wrong"),
        (b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip..", b"not `gzip`, as its"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n", b" 400 "),
        (b"Content-Length: 9\r\n\r\ntoken", b"did not arrive within 0.3 s"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n", b"did not arrive within 0.3 s"),
    ],
    ids=["megabyte", "chunked megabyte", "many fields", "no gzip", "broken", "slow", "slow chunks"],
)
def test_a_form_that_is_too_large_or_slow_or_broken_is_answered_and_not_logged(
    server: HttpServer, monkeypatch, caplog, rest: bytes, said: bytes
) -> None:
    monkeypatch.setattr(login, "FORM_TIMEOUT_S", 0.3)
    assert said in talk(server, HEAD + rest)
    assert ask(server, **BEARER) == 200
    assert not caplog.records


def test_a_form_that_grows_when_it_is_unpacked_is_too_large(server: HttpServer) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    packed = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
    with connect(server) as connection:
        connection.sendall(packed % (len(bomb), bomb))
        assert b" 413 " in connection.recv(4096)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "kB"


def test_a_form_whose_sender_goes_away_is_not_logged(server: HttpServer, caplog) -> None:
    for _ in range(5):
        with connect(server) as connection:
            connection.sendall(HEAD + b"Content-Length: 9\r\n\r\ntoken")
    assert ask(server, **BEARER) == 200
    assert not caplog.records


def test_idle_connections_are_bounded_and_keep_nobody_out(server: HttpServer) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(MOST_UNKNOWN + 150)]
        assert ask(server, **BEARER) == 200
        until(lambda: sum(map(is_open, idle)) <= MOST_OPEN)
        assert is_open(idle[-1]) and not is_open(idle[0]), "the oldest go"


def test_who_has_shown_the_token_is_not_closed_for_strangers(server: HttpServer) -> None:
    with ExitStack() as stack:
        guest = stack.enter_context(connect(server))
        head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nAuthorization: " + BEARER["Authorization"]
        guest.sendall(head.encode() + b"\r\n\r\n1")
        for _ in range(3 * MOST_UNKNOWN):
            stack.enter_context(connect(server))
        guest.sendall(b"2")
        assert guest.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_crowd_of_one_address_closes_its_own_connections(server: HttpServer) -> None:
    address = server.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        quiet = stack.enter_context(
            socket.create_connection((address[0], int(address[1])), source_address=("127.0.0.2", 0))
        )
        crowd = [stack.enter_context(connect(server)) for _ in range(4 * MOST_UNKNOWN)]
        until(lambda: sum(map(is_open, crowd)) <= MOST_OPEN)
        assert is_open(quiet)


def test_those_with_the_token_are_bounded_too(server: HttpServer) -> None:
    with ExitStack() as stack:
        statuses = []
        for _ in range(MOST_KNOWN + 1):
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
            stack.enter_context(closing(connection))
            connection.request("GET", "/", headers=BEARER)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        assert statuses == [200] * MOST_KNOWN + [503]
    until(lambda: ask(server, **BEARER) == 200)


def test_who_takes_no_answer_is_closed_like_the_idle_ones_and_leaves_nothing(server: HttpServer) -> None:
    before = len(descriptors())
    with ExitStack() as stack:
        for _ in range(MOST_UNKNOWN + 60):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
            deaf.sendall(b"GET /page/large.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ask(server, **BEARER) == 200
        # Each that is served has a file open besides its connection.
        most = before + MOST_UNKNOWN + 60 + 2 * MOST_OPEN
        until(lambda: len(descriptors()) <= most)
    until(lambda: len(descriptors()) <= before + 3)
    assert len(asyncio.all_tasks(server._loop)) <= 6


def test_requests_sent_ahead_are_not_taken_into_memory(server: HttpServer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connect(server) as connection:
        connection.setblocking(False)
        many = b"GET /page/large.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000
        sent = 0
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                sent += connection.send(many)
            except BlockingIOError:
                time.sleep(0.05)
        assert sent < 16_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"


@pytest.fixture
def daemon(state: Path, tmp_path: Path, token_file: Path) -> Iterator[tuple[DaemonProcess, str]]:
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"http: {{bind: '127.0.0.1:0', token_file: {token_file}}}\n")
    process = DaemonProcess(state, tmp_path, "--config", str(config))
    url = process.url()
    process.ready()
    yield process, url.removeprefix("http://")
    process.kill()


def test_zeromq_answers_while_http_is_flooded(daemon: tuple[DaemonProcess, str]) -> None:
    process, address = daemon
    host, port = address.split(":")
    lines = process.unread()
    is_over = threading.Event()

    def flood() -> None:
        held: list[socket.socket] = []
        while not is_over.is_set():
            try:
                held.append(socket.create_connection((host, int(port)), timeout=1))
                held[-1].sendall(HEAD + b"Content-Length: 50\r\n\r\n")
            except OSError:  # it was closed, or waits in line
                pass
            if len(held) >= 300:
                held.pop(0).close()
        for connection in held:
            connection.close()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with Client(process.door, timeout_s=10) as client:
            for _ in range(40):
                assert client.classify(CAT).predictions
        assert len(descriptors(process.process.pid)) < 250
    finally:
        is_over.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert process.stop() == 0
    assert len(process.said) - lines < 10, process.said


def test_large_pictures_that_never_end_hold_bounded_memory(daemon: tuple[DaemonProcess, str]) -> None:
    process, address = daemon
    host, port = address.split(":")
    part = bytes(1_000_000)
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {31 * len(part)}\r\nAuthorization: "
    before_kb = int(process.facts("VmRSS").split()[0])
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=1)) for _ in range(14)
        ]
        for sender in senders:
            sender.sendall(head.encode() + BEARER["Authorization"].encode() + b"\r\n\r\n")
        held = list(senders)
        for _ in range(30):  # and not the last one
            for sender in list(held):
                try:
                    sender.sendall(part)
                except TimeoutError:  # it waits until others are done
                    held.remove(sender)
        assert len(held) == MOST_BODIES
        grown_kb = int(process.facts("VmRSS").split()[0]) - before_kb
    assert grown_kb < 1.25 * MOST_BODIES * 30 * len(part) / 1024 + 30_000
    assert process.stop() == 0


def test_a_lack_of_descriptors_is_one_line_and_passes(daemon: tuple[DaemonProcess, str]) -> None:
    process, address = daemon
    host, port = address.split(":")
    pid = process.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(descriptors(pid)) + 1, limits[1]))
    with ExitStack() as stack:
        for _ in range(MOST_UNKNOWN):  # more than there are gaps among its descriptors
            each = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
            connection = stack.enter_context(each)
        process.wait_for("Too many open files")
        time.sleep(2.5)  # asyncio tries once a second, and tells of it many times
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 401 " in connection.recv(4096)
    lines = process.unread()
    assert lines <= 3, "each second there are more"
    assert process.stop() == 0
