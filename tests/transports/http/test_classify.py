"""Pictures over HTTP to the real daemon: answered as over ZeroMQ, and every way to get it wrong."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from http_classify import CAT, LIMIT, post
from incv3d.client import Client
from processes import PATIENCE_S, DaemonProcess


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("daemon")
    config = folder / "incv3d.yaml"
    settings = {
        "http": {"bind": "127.0.0.1:0"},
        "intake": {"max_message_bytes": LIMIT, "max_pixels": 2_000_000},
    }
    config.write_text(json.dumps(settings))
    process = DaemonProcess(state, folder, "--config", str(config))
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def url(daemon: DaemonProcess) -> str:
    found = daemon.url()
    daemon.ready()
    return found


def test_a_picture_is_answered_as_over_zeromq(daemon: DaemonProcess, url: str) -> None:
    status, answer, headers = post(url, CAT, "?top_k=3&id=7")
    assert status == 200 and headers["Content-Type"] == "application/json"
    with Client(daemon.door) as client:
        over_zeromq = client.classify(CAT, top_k=3)
    said = [(each["label"], each["score"]) for each in answer["predictions"]]
    assert said == [(each.label, each.score) for each in over_zeromq.predictions]
    assert answer["id"] == "7" and answer["status"] == "ok" and answer["model"] == "efficientnet-lite0"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_told_the_right_one(url: str, method: str) -> None:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)) as connection:
        connection.request(method, "/classify")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.read().startswith(b"send an image with POST: curl --data-binary @IMAGE 127.0.0.1:")


def test_raw_pixels_are_told_of_in_the_query(url: str) -> None:
    status, answer, _ = post(url, bytes(30 * 20 * 3), "?encoding=rgb24&width=30&height=20&top_k=1")
    assert status == 200 and len(answer["predictions"]) == 1


@pytest.mark.parametrize(
    ("query", "content_type"),
    [("?encoding=png", "image/png"), ("", "image/webp"), ("?encoding=jpeg", "text/html")],
)
def test_the_first_bytes_tell_the_format_whatever_the_request_says(url: str, query, content_type) -> None:
    assert post(url, CAT, query, Content_Type=content_type)[0] == 200
    with io.BytesIO() as out:
        Image.open(io.BytesIO(CAT)).save(out, "PNG")
        assert post(url, out.getvalue(), query, Content_Type=content_type)[0] == 200


@pytest.mark.parametrize(
    ("body", "query", "status", "code", "detail"),
    [
        (b"", "", 400, "bad_request", "an empty image"),
        (b"no picture", "", 400, "bad_image", "not a JPEG, PNG, WebP or BMP image"),
        (CAT[:5000], "", 400, "bad_image", "damaged JPEG"),
        (
            CAT,
            "?topk=3",
            400,
            "bad_request",
            "query: `topk` is unknown; allowed are age_ms, base_top_k, captured_at",
        ),
        (CAT, "?top_k=0", 400, "bad_request", "query: Expected `int` >= 1"),
        (CAT, "?top_k=many", 400, "bad_request", "query: Expected `int | null`"),
        (CAT, "?encoding=rgb24", 400, "bad_request", "rgb24 needs width and height"),
        (bytes(LIMIT + 1), "", 413, "too_large", f"{LIMIT + 1} bytes exceed the limit of {LIMIT}"),
        (
            bytes(4_500_000 // 2),
            "?encoding=gray8&width=1500&height=1500",
            413,
            "too_large",
            "bytes exceed the limit of",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(url: str, body, query, status, code, detail) -> None:
    found, answer, _ = post(url, body, query)
    assert (found, answer["status"], answer["code"]) == (status, "error", code)
    assert detail in answer["detail"] and "\n" not in answer["detail"]
    assert post(url, CAT)[0] == 200


def test_a_body_without_a_length_is_cut_off_at_the_limit(url: str) -> None:
    parts = (bytes(100_000) for _ in range(30))
    status, answer, _ = post(url, parts)
    assert status == 413 and answer["detail"] == f"more than the limit of {LIMIT} bytes"


def test_a_form_is_told_how_to_send_it(url: str) -> None:
    _, answer, _ = post(url, CAT, Content_Type="multipart/form-data; boundary=x")
    assert answer["detail"] == "send the image itself, not a form: curl --data-binary @IMAGE"


def test_a_page_from_elsewhere_cannot_have_its_readers_browser_send_one(url: str) -> None:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)) as connection:
        connection.request("POST", "/classify", CAT, {"Origin": "http://evil.example"})
        assert connection.getresponse().status == 403
    assert post(url, CAT, Origin=url)[0] == 200


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing_behind(daemon: DaemonProcess, url: str) -> None:
    host, port = urlsplit(url).netloc.split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n" + CAT[:100]
            )
    assert post(url, CAT)[0] == 200
    with Client(daemon.door) as client:
        assert client.ask("stats")["queue_depth"] == 0


POST = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET /?\xff\xd8 HTTP/1.1\r\nHost: localhost\r\n\r\n", b" 400 "),
        (b"GET / HTTP/9.9\r\n\r\n", b" 400 "),
        (b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(200), b" 400 "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n", b" 400 "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n", b" 400 "),
        (POST + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip..", b"not `gzip`, as its"),
        (POST + b"Content-Length: 50000\r\n\r\n" + CAT[:100], None),
        (POST + b"Content-Length: %d\r\n\r\n" % len(CAT) + CAT, None),
    ],
)
def test_a_message_that_is_not_http_is_answered_and_not_logged(
    daemon: DaemonProcess, url: str, sent: bytes, said: bytes | None
) -> None:
    host, port = urlsplit(url).netloc.split(":")
    lines = daemon.unread()
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(sent)
            if said:
                assert said in b"".join(iter(partial(connection.recv, 4096), b""))
    assert post(url, CAT)[0] == 200
    assert daemon.unread() == lines


def test_many_at_once_are_answered_each_once(url: str) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(post(url, CAT)[0] for _ in range(5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(answers) == 40 and set(answers) <= {200, 503} and answers.count(200) >= 5
