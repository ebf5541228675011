"""Who is let in over HTTP, on a real server."""

from __future__ import annotations

import grp
import http.client
import os
import pwd
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from incv3d.config.checks import split_http_address
from incv3d.config.network import HttpSection
from incv3d.transports.errors import TransportError
from incv3d.transports.http.auth import read_token
from incv3d.transports.http.server import HttpServer
from proxies import own_address

TOKEN = "0123456789abcdef0123"
Ask = Callable[..., int]


async def secret(request: web.Request) -> web.Response:
    return web.Response(text="42")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    section = HttpSection(bind="0.0.0.0:0", token_file=str(tmp_path / "token"))
    deaths: list[BaseException] = []
    server = HttpServer(section, [web.get("/", secret)], lambda thread, error: deaths.append(error))
    server.open()
    server.start()
    yield server
    assert server.close(20) and not deaths


def port_of(server: HttpServer) -> int:
    return int(server.url.rpartition(":")[2])


def ask(server: HttpServer, host: str = "127.0.0.1", **headers: str) -> int:
    with closing(http.client.HTTPConnection(host, port_of(server), timeout=20)) as connection:
        connection.request(
            "GET", "/", headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        body = answer.read().decode()
        assert (body == "42") == (answer.status == 200)
        return answer.status


@pytest.fixture
def open_server() -> Iterator[HttpServer]:
    """A server without a token, for this machine alone."""
    server = HttpServer(HttpSection(bind="127.0.0.1:0"), [web.get("/", secret)], lambda thread, error: None)
    server.open()
    server.start()
    yield server
    assert server.close(20)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "LOCALHOST"])
def test_this_machine_needs_the_token_too_where_there_is_one(
    server: HttpServer, open_server: HttpServer, host: str
) -> None:
    assert ask(server, Host=host) == 401
    assert ask(server, Host=host, Authorization=f"Bearer {TOKEN}") == 200
    assert ask(open_server, Host=host) == 200


def test_another_machine_needs_the_token(server: HttpServer) -> None:
    host = own_address()
    assert ask(server, host) == 401
    assert ask(server, host, Host="localhost") == 401
    assert ask(server, host, Authorization=f"Bearer {TOKEN}") == 200
    assert ask(server, host, Authorization=f"bearer {TOKEN}") == 200


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer é"],
)
def test_a_wrong_token_is_none(server: HttpServer, given: str) -> None:
    assert ask(server, own_address(), Authorization=given) == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_who_comes_through_a_proxy_on_this_machine_needs_it_too(
    server: HttpServer, open_server: HttpServer, header: str
) -> None:
    assert ask(server, **{header: "10.0.0.7"}) == 401
    assert ask(server, **{header: "10.0.0.7"}, Authorization=f"Bearer {TOKEN}") == 200
    assert ask(open_server, **{header: "10.0.0.7"}) == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "10.0.0.1", "[::1", "", "localhost.evil", "127.0.0.1.evil"]
)
def test_a_page_from_elsewhere_cannot_ask_under_a_name_of_its_own(
    server: HttpServer, open_server: HttpServer, host: str
) -> None:
    assert ask(server, Host=host) in (400, 401)
    assert ask(open_server, Host=host) in (400, 401)


@pytest.mark.parametrize("bind", ["[::1]:0", "[::]:0"])
def test_loopback_needs_the_token_over_ipv6_too(tmp_path: Path, bind: str) -> None:
    (tmp_path / "token").write_text(TOKEN)
    section = HttpSection(bind=bind, token_file=str(tmp_path / "token"))
    server = HttpServer(section, [web.get("/", secret)], lambda thread, error: None)
    server.open()
    server.start()
    for host in ["::1"] + ["127.0.0.1"] * (bind == "[::]:0"):
        assert ask(server, host) == 401
        assert ask(server, host, Host="localhost") == 401
        assert ask(server, host, Authorization=f"Bearer {TOKEN}") == 200
    assert server.close(20)


def test_a_request_that_names_no_host_is_answered_without_asking_a_name_server(
    open_server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost")
    with socket.create_connection(("127.0.0.1", port_of(open_server)), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 401 " in connection.recv(4096)


def test_another_machine_whose_packets_reach_loopback_is_not_let_in(open_server: HttpServer) -> None:
    """A router or a container's network can send them there; the name that they ask for proves nothing."""
    port, address = port_of(open_server), own_address()
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 401 " in connection.recv(4096)


def test_a_server_without_a_token_lets_nobody_else_in(open_server: HttpServer) -> None:
    assert ask(open_server) == 200
    assert ask(open_server, X_Forwarded_For="10.0.0.7", Authorization="Bearer None") == 401


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "must hold one word of 16 characters or more: openssl rand"),
        (b"short\n", "must hold one word"),
        (b"two words of some length", "must hold one word"),
        (b"\xff" * 40, "must hold one word"),
        (b"0123456789abcdef\n0123456789abcdef\n", "must hold one word"),
    ],
)
def test_a_file_without_a_token_is_one_line(tmp_path: Path, content, complaint) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TransportError, match=complaint):
        read_token(path)


@pytest.mark.parametrize("length", [16, 4096])
def test_the_shortest_and_the_longest_token_are_read_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "token"
    path.write_text("a" * (length - 1))
    if length == 16:
        with pytest.raises(TransportError, match="must hold one word of 16 characters or more"):
            read_token(path)
    path.write_text("a" * length)
    assert read_token(path) == "a" * length


def test_a_file_that_is_longer_than_any_token_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a" * 4097)
    with pytest.raises(
        TransportError, match=r"token: holds more than 4096 bytes, too many for a token: openssl rand"
    ):
        read_token(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_token_that_this_user_may_not_read_is_one_line_with_the_command_that_mends_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "token"
        path.write_text(TOKEN)
        path.chmod(0o600)
        Path(folder).chmod(0o755)
        assert grp and pwd, "loaded now: the other user may not read this Python"
        os.seteuid(65534)
        try:
            with pytest.raises(TransportError) as caught:
                read_token(path)
        finally:
            os.seteuid(0)
    assert str(caught.value).startswith(
        f"http.token_file: {path}: cannot be read: Permission denied: sudo chown"
    )


def test_beyond_the_most_guests_another_is_told_to_try_again_and_those_that_are_in_stay(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incv3d.transports.http.connections.MOST_KNOWN", 1)
    request = f"GET / HTTP/1.1\r\nHost: pi\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    address = ("127.0.0.1", port_of(server))
    with socket.create_connection(address, timeout=20) as guest:
        guest.sendall(request)
        assert b" 200 " in guest.recv(4096)
        with socket.create_connection(address, timeout=20) as late:
            late.sendall(request)
            answer = b"".join(iter(lambda: late.recv(4096), b""))  # it is closed after the answer
        assert b" 503 " in answer and b"too many connections are open; close some" in answer
        guest.sendall(request)
        assert b" 200 " in guest.recv(4096)


def test_a_pipe_is_no_file_with_a_token(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    with pytest.raises(TransportError, match="must hold one word"):
        read_token(tmp_path / "token")


def test_a_token_that_everybody_can_read_is_warned_of(tmp_path: Path, caplog) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o640)
    assert read_token(path) == TOKEN and not caplog.records
    path.chmod(0o644)
    assert read_token(path) == TOKEN
    assert f"every user can read {path}; protect it: chmod 600 {path}" in caplog.text


def test_an_address_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        section = HttpSection(bind=f"127.0.0.1:{taken.getsockname()[1]}")
        server = HttpServer(section, [], lambda thread, error: None)
        with pytest.raises(TransportError, match=r"http\.bind: cannot listen on 127\.0\.0\.1:\d+: .*in use"):
            server.open()
    assert server.close(1)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_a_connection_without_a_whole_request_is_closed(sent: bytes) -> None:
    section = HttpSection(bind="127.0.0.1:0")
    server = HttpServer(section, [web.get("/", secret)], lambda thread, error: None, idle_s=0.5)
    server.open()
    server.start()
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as idle:
        idle.sendall(sent)
        assert idle.recv(1) == b""
    assert server.close(20)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_every_way_to_name_this_machine_is_served(bind: str) -> None:
    server = HttpServer(HttpSection(bind=bind), [web.get("/", secret)], lambda thread, error: None)
    server.open()
    server.start()
    assert ask(server, split_http_address("bind", server.url.removeprefix("http://"))[0]) == 200
    assert server.close(20)
