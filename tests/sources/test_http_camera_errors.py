"""Logins, redirects and wrong responses of cameras over HTTP: real servers on loopback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from http_cameras import LOGIN, ONE, frames, opened
from incv3d.config.address import Address
from incv3d.frames import image_format
from incv3d.sources import SourceAbsent, SourceError
from incv3d.sources.http_camera import SnapshotSource, open_http_camera
from streams import free_port
from webcams import PASSWORD, Request, behind_basic, behind_digest, parts, self_signed


@pytest.mark.parametrize("guard", [behind_basic, behind_digest])
@pytest.mark.parametrize("answer", [parts(), lambda request: request.send_whole(ONE)], ids=["mjpeg", "jpeg"])
def test_a_login_in_the_address_is_given_when_it_is_asked_for(serve, guard, answer) -> None:
    camera = serve(guard(answer))
    assert all(image_format(frame.data) == "jpeg" for frame in frames(camera.url(login=LOGIN)))
    for login, words in (("viewer:wrong@", "wrong user name or password"), ("", "it requires a login")):
        with pytest.raises(SourceError, match=rf"answered 401 Unauthorized: .*{words}") as caught:
            frames(camera.url(login=login))
        assert "wrong@" not in str(caught.value) and not isinstance(caught.value, SourceAbsent)


def test_odd_answers_end_in_one_line_without_secrets(serve, caplog) -> None:
    def digest_without_realm(request: Request) -> None:
        request.send_response(401)
        request.send_header("WWW-Authenticate", "Digest qop=auth")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def nowhere(request: Request) -> None:
        request.send_response(302)
        request.send_header("Location", "http://[::1/x")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def no_header(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nthis is no header\r\n\r\n<html>")

    for answer, words in (
        (digest_without_realm, "its Digest login lacks the field 'realm'$"),
        (nowhere, "the one it redirects to, is invalid$"),
        (no_header, "a web page, not an image"),
    ):
        with pytest.raises(SourceError, match=words):
            frames(serve(answer).url("/x?token=geheim", login=LOGIN))
    assert "geheim" not in caplog.text


def test_a_redirect_is_followed_and_another_host_is_not_told_the_password(serve) -> None:
    other = serve(parts())
    target = other.url().replace("127.0.0.1", "localhost")

    def answer(request: Request) -> None:
        if request.path == "/moved":
            request.head(302, Location=target, Content_Length=0)
        elif request.path == "/loop":
            request.head(302, Location="/loop", Content_Length=0)
        else:
            request.head(301, Location="/moved", Content_Length=0)

    camera = serve(behind_basic(answer))
    assert frames(camera.url(login=LOGIN))
    assert "Authorization" in camera.asked[-1][1] and "Authorization" not in other.asked[-1][1]
    with pytest.raises(SourceError, match="redirected more than 5 times"):
        frames(camera.url("/loop", login=LOGIN))


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            lambda request: request.send_whole(b"", status=403),
            SourceError,
            "the server answered 403 Forbidden",
        ),
        (
            lambda request: request.send_whole(b"", status=404),
            SourceAbsent,
            "the server answered 404 Not Found",
        ),
        (
            lambda request: request.send_whole(b"<html>hi</html>", "text/html"),
            SourceError,
            "a web page, not an image",
        ),
        (lambda request: request.send_whole(b"\n<!DOCTYPE html>"), SourceError, "a web page, not an image"),
        (lambda request: request.send_whole(b""), SourceError, "the response is empty"),
        (lambda request: request.head(302, Location="ftp://x/y"), SourceError, "redirected to `ftp://x/y`"),
        (lambda request: request.send(b"\x16\x03no http\r\n\r\n"), SourceError, "the response is not HTTP"),
        (Request.wait, SourceError, "no data in time"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(serve, answer, error, words: str) -> None:
    with pytest.raises(error, match=words) as caught, opened(serve(answer).url(), timeout_s=0.5):
        pass
    said = str(caught.value)
    assert said.startswith("http://127.0.0.1:") and "\n" not in said
    assert isinstance(caught.value, SourceAbsent) == (error is SourceAbsent)


def test_a_poll_that_brings_no_image_or_half_of_one_is_said(serve) -> None:
    answers: list[Callable[[Request], None]] = [
        lambda request: request.send_whole(b"busy", "text/plain"),
        lambda request: (
            request.head(Content_Length=1000, Content_Type="image/jpeg"),
            request.send(ONE[:99]),
        ),
        lambda request: request.send_whole(b"<html>log in</html>", "text/html"),
    ]

    def answer(request: Request) -> None:
        if request.path == "/first":
            request.send_whole(ONE)
        else:
            answers.pop(0)(request)

    camera = serve(answer)
    for words in (
        "expected an image, received 4 bytes .text/plain.",
        "the connection broke off",
        "a web page, not an image",
    ):
        with opened(camera.url("/first")) as source:
            assert source.capture(0.0)
            assert isinstance(source, SnapshotSource)
            source._client._url = camera.url("/then")
            with pytest.raises(SourceError, match=words):
                source.capture(0.0)


def test_no_one_there_is_absent() -> None:
    with pytest.raises(SourceAbsent, match=r"/x\.jpg: Connection refused"):
        open_http_camera("c", Address(f"http://127.0.0.1:{free_port()}/x.jpg"), 5.0, 0.0)
    with pytest.raises(SourceAbsent, match=r"/x\.jpg: .*[Nn]ame"):
        open_http_camera("c", Address("http://camera.invalid/x.jpg"), 5.0, 0.0)


def test_a_certificate_of_its_own_is_accepted_and_said(serve, tmp_path: Path, caplog) -> None:
    camera = serve(behind_digest(parts()), self_signed(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert frames(camera.url(login=LOGIN))
    (line,) = [record.getMessage() for record in caplog.records if "certificate" in record.getMessage()]
    assert "cannot be verified: self-signed certificate" in line and PASSWORD not in line
