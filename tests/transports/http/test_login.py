"""A browser on another machine: the form, the cookie, and what nobody may have without them."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import web

from incv3d.config.network import HttpSection
from incv3d.transports.http.login import COOKIE, FORM, cookie_of
from incv3d.transports.http.server import HttpServer

TOKEN = "0123456789abcdef-#&="


async def secret(request: web.Request) -> web.Response:
    return web.Response(text="42")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    section = HttpSection(bind="127.0.0.1:0", token_file=str(tmp_path / "token"))
    routes = [web.get("/", secret), web.get("/page/x", secret), web.post("/classify", secret)]
    server = HttpServer(section, routes, lambda thread, error: None, form=FORM)
    server.open()
    server.start()
    yield server
    assert server.close(20)


def ask(
    server: HttpServer, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    port = int(server.url.rpartition(":")[2])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


def give(server: HttpServer, token: str) -> tuple[int, str, http.client.HTTPMessage]:
    body = urlencode({"token": token})
    return ask(server, "POST", "/login", body, Content_Type="application/x-www-form-urlencoded")


def test_a_browser_is_sent_to_the_form_and_a_program_is_told(server: HttpServer) -> None:
    status, _, headers = ask(server, "GET", "/", Accept="text/html,*/*")
    assert (status, headers["Location"]) == (303, "/login")
    status, words, _ = ask(server, "GET", "/")
    assert status == 401 and "Authorization: Bearer TOKEN" in words
    assert ask(server, "POST", "/classify", "x", Accept="text/html")[0] == 401


def test_the_form_and_the_files_of_the_page_are_for_everybody(server: HttpServer) -> None:
    status, form, _ = ask(server, "GET", "/login")
    assert status == 200 and 'action="/login"' in form
    assert ask(server, "GET", "/page/x")[0] == 200


@pytest.mark.parametrize("header", ["If_Modified_Since", "If_Unmodified_Since", "If_Range"])
def test_a_date_that_no_calendar_has_is_refused(server: HttpServer, header: str) -> None:
    status, words, _ = ask(server, "GET", "/login", **{header: f"1 Jan 1{'0' * 30} 08:49:37"})
    assert status == 400 and "a date in the header" in words


def test_who_gives_the_token_has_a_cookie_that_opens_everything(server: HttpServer) -> None:
    status, _, headers = give(server, f" {TOKEN}\n")
    assert (status, headers["Location"]) == (303, "/")
    cookie = SimpleCookie(headers["Set-Cookie"])[COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "Strict" and int(cookie["max-age"]) == 30 * 86_400
    assert TOKEN not in cookie.value
    status, words, _ = ask(server, "GET", "/", Cookie=f"{COOKIE}={cookie.value}")
    assert (status, words) == (200, "42")


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é"])
def test_who_gives_another_word_is_asked_again_and_has_none(server: HttpServer, token: str) -> None:
    status, _, headers = give(server, token)
    assert (status, headers["Location"], headers["Set-Cookie"]) == (303, "/login?wrong", None)


@pytest.mark.parametrize("body", ["", "token", "token=%ff%fe", "\x00", "a=1&b=2"])
def test_a_form_that_is_none_is_a_wrong_one(server: HttpServer, body: str) -> None:
    assert ask(server, "POST", "/login", body)[2]["Location"] == "/login?wrong"


def test_a_form_with_two_tokens_is_as_good_as_its_first(server: HttpServer) -> None:
    for tokens, place in ((["x", TOKEN], "/login?wrong"), ([TOKEN, "x"], "/")):
        body = urlencode([("token", token) for token in tokens])
        assert ask(server, "POST", "/login", body)[2]["Location"] == place


@pytest.mark.parametrize(("others", "place"), [(3, "/"), (4, "/login?wrong")])
def test_a_form_has_at_most_four_fields(server: HttpServer, others: int, place: str) -> None:
    body = urlencode([("token", TOKEN)] + [("x", "y")] * others)
    assert ask(server, "POST", "/login", body)[2]["Location"] == place


@pytest.mark.parametrize("is_said", [True, False])
def test_a_form_has_at_most_16_kib(server: HttpServer, is_said: bool) -> None:
    """Whether its length is said before it comes or not."""

    def give_form(length: int) -> tuple[int, str, http.client.HTTPMessage]:
        body = urlencode({"token": TOKEN}) + "&x="
        body += "y" * (length - len(body))
        if is_said:
            return ask(server, "POST", "/login", body)
        chunked = f"{length:x}\r\n{body}\r\n0\r\n\r\n"
        return ask(server, "POST", "/login", chunked, Transfer_Encoding="chunked")

    assert give_form(16_384)[2]["Location"] == "/"
    status, words, _ = give_form(16_385)
    assert status == 413 and "16384" in words


def test_a_form_that_does_not_arrive_is_given_up(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incv3d.transports.http.login.FORM_TIMEOUT_S", 0.2)
    port = int(server.url.rpartition(":")[2])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.putrequest("POST", "/login")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"token=")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (400, b"the form did not arrive within 0.2 s\n")


@pytest.mark.parametrize("cookie", ["", "x", cookie_of("another token of some length"), "é", TOKEN])
def test_another_cookie_opens_nothing(server: HttpServer, cookie: str) -> None:
    assert ask(server, "GET", "/", Cookie=f"{COOKIE}={cookie}")[0] == 401


def test_a_page_from_elsewhere_cannot_use_the_cookie_to_send_something(server: HttpServer) -> None:
    cookie = f"{COOKIE}={cookie_of(TOKEN)}"
    for origin in ("http://evil.example", "null", "http://127.0.0.1"):
        assert ask(server, "POST", "/classify", "x", Cookie=cookie, Origin=origin)[0] == 403
    assert ask(server, "POST", "/classify", "x", Cookie=cookie, Origin=server.url)[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "same-origin", "Origin": "null"}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://pi.example"}, 200),
        ({"Sec_Fetch_Site": "same-site", "Origin": "https://other.pi.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "X_Incv3d_Page": "1"}, 403),
        ({"Origin": "http://pi.example", "X_Incv3d_Page": "1"}, 200),
        ({"Origin": "http://pi.example", "Host": "pi.example"}, 200),
        ({"Origin": "http://pi.example:81", "Host": "pi.example"}, 403),
    ],
)
def test_a_browsers_word_counts_more_than_names_that_a_proxy_may_change(
    server: HttpServer, headers: dict[str, str], status: int
) -> None:
    cookie = f"{COOKIE}={cookie_of(TOKEN)}"
    assert ask(server, "POST", "/classify", "x", Cookie=cookie, **headers)[0] == status
    assert ask(server, "POST", "/classify", "x", **headers)[0] == (401 if status == 200 else 403)


def test_a_cookie_is_for_encrypted_connections_where_the_browser_has_one(server: HttpServer) -> None:
    for origin, is_secure in (("https://pi.example", True), ("http://pi.example", False)):
        body = urlencode({"token": TOKEN})
        headers = ask(server, "POST", "/login", body, Origin=origin)[2]
        assert bool(SimpleCookie(headers["Set-Cookie"])[COOKIE]["secure"]) == is_secure


def test_no_page_from_elsewhere_can_show_what_is_here(server: HttpServer) -> None:
    _, _, headers = ask(server, "GET", "/login")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_without_a_token_the_form_lets_nobody_in() -> None:
    server = HttpServer(
        HttpSection(bind="127.0.0.1:0"), [web.get("/", secret)], lambda thread, error: None, form=FORM
    )
    server.open()
    server.start()
    assert give(server, "None")[2]["Location"] == "/login?wrong"
    assert ask(server, "GET", "/", Host="elsewhere", Accept="text/html")[0] == 401, "no form would help"
    assert server.close(20)
