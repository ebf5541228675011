"""Pictures over HTTP to the real daemon: answered as over ZeroMQ, and every way to get it wrong."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zmq
from PIL import Image

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess, ScriptedDaemon

CAT = (demo_folder() / "cat.jpg").read_bytes()
LIMIT = 1_000_000


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


def post(url: str, body: Any, query: str = "", **headers: str) -> tuple[int, dict[str, Any], Any]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)) as connection:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", f"/classify{query}", body, given)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers


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
        assert answer.read().startswith(b"send a picture with POST: curl --data-binary @PICTURE 127.0.0.1:")


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
        (CAT, "?topk=3", 400, "bad_request", "query: `topk` is none of age_ms, captured_at, encoding"),
        (CAT, "?top_k=0", 400, "bad_request", "query: Expected `int` >= 1"),
        (CAT, "?top_k=many", 400, "bad_request", "query: Expected `int | null`"),
        (CAT, "?encoding=rgb24", 400, "bad_request", "rgb24 needs width and height"),
        (bytes(LIMIT + 1), "", 413, "too_large", f"{LIMIT + 1} bytes, at most {LIMIT} are admitted"),
        (bytes(4_500_000 // 2), "?encoding=gray8&width=1500&height=1500", 413, "too_large", "bytes, at most"),
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
    assert status == 413 and answer["detail"] == f"more than {LIMIT} bytes, which are admitted"


def test_a_form_is_told_how_to_send_it(url: str) -> None:
    _, answer, _ = post(url, CAT, Content_Type="multipart/form-data; boundary=x")
    assert answer["detail"] == "send the picture itself, not a form: curl --data-binary @PICTURE"


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
        (POST + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip..", b"not `gzip` as its"),
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


@pytest.fixture
def scripted(state: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[ScriptedDaemon, str]]]:
    started: list[ScriptedDaemon] = []

    def make(text: str, *words: str) -> tuple[ScriptedDaemon, str]:
        config = tmp_path / "incv3d.yaml"
        config.write_text("http: {bind: '127.0.0.1:0'}\n" + text)
        started.append(ScriptedDaemon(state, tmp_path, str(config), *words))
        return started[-1], started[-1].url()

    yield make
    for process in started:
        process.kill()


Answers = queue.SimpleQueue[tuple[int, dict[str, Any], Any]]


def send(url: str, id: str, answers: Answers) -> None:
    """Send a picture in the background; its answer goes to `answers`."""

    def wait() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # a test ends with its daemon's death
            answers.put(post(url, CAT, f"?id={id}"))

    threading.Thread(target=wait, daemon=True).start()


def hang(daemon: ScriptedDaemon, url: str) -> Answers:
    """Somebody at whose picture the Session hangs, once it does."""
    answers: Answers = queue.SimpleQueue()
    send(url, "hang-run", answers)
    daemon.wait_for("scripted: it hangs")
    return answers


def test_a_full_daemon_is_busy_and_says_when_to_come_again(scripted) -> None:
    daemon, url = scripted("intake: {queue_limit: 1, peer_limit: 1}\nsession: {overlap_runs: false}\n")
    daemon.ready()
    hang(daemon, url)
    answers: Answers = queue.SimpleQueue()
    for number in range(4):  # one is decoded, one waits; as the Session hangs, the others alone are answered
        send(url, f"next{number}", answers)
    status, answer, headers = answers.get(timeout=PATIENCE_S)
    assert (status, answer.get("code")) == (503, "busy") and int(headers["Retry-After"]) >= 1, (
        answer,
        daemon.said,
    )


class Caller:
    """A client with one connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)

    def send(self) -> None:
        self._connection.request("POST", "/classify", CAT)

    def receive(self, code: str = "busy") -> tuple[float, dict[str, Any]]:
        """Return when the answer came, and what it said."""
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        assert (answer.status, said["code"]) == (503, code), said
        return time.monotonic(), said

    def ask(self) -> tuple[float, dict[str, Any]]:
        self.send()
        return self.receive()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def full(scripted) -> Iterator[tuple[ScriptedDaemon, str]]:
    """A daemon whose queue stays full, and which tells everyone to come again in two seconds."""
    daemon, url = scripted("intake: {queue_limit: 1, peer_limit: 1}\ndaemon: {grace_s: 0.1}\n", "2000")
    daemon.ready()
    send(url, "hang-decode", queue.SimpleQueue())
    daemon.wait_for("scripted: it hangs")
    with zmq.Context() as context, context.socket(zmq.DEALER) as sender:
        sender.set(zmq.LINGER, 0)
        sender.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
        sender.connect(daemon.door)
        sender.send_multipart([b"", b'{"v":1,"encoding":"jpeg"}', CAT])
        sender.send_multipart([b"", b'{"v":1,"op":"stats"}'])
        assert json.loads(sender.recv_multipart()[-1])["queue_depth"] == 1
        yield daemon, url


def test_a_client_that_comes_too_early_gets_its_busy_when_the_time_is_over(full) -> None:
    _, url = full
    with closing(Caller(url)) as loop:
        told, said = loop.ask()
        for _ in range(2):
            wait_s = said["retry_ms"] / 1000
            assert wait_s >= 2
            before, (told, said) = told, loop.ask()
            assert before + wait_s - 0.1 <= told <= before + wait_s + 1


def test_a_first_refusal_comes_at_once_while_others_are_held(full) -> None:
    _, url = full
    with closing(Caller(url)) as loop, closing(Caller(url)) as other:
        told, said = loop.ask()
        loop.send()
        assert other.ask()[0] < told + said["retry_ms"] / 1000 - 0.1
        assert loop.receive()[0] >= told + said["retry_ms"] / 1000 - 0.1


def test_a_client_with_a_connection_for_each_request_is_held_too(full) -> None:
    _, url = full
    with closing(Caller(url)) as first:
        told, said = first.ask()
    with closing(Caller(url)) as second:
        assert second.ask()[0] >= told + said["retry_ms"] / 1000 - 0.1


def test_a_held_client_that_goes_away_is_forgotten(full) -> None:
    daemon, url = full
    with closing(Caller(url)) as gone, Client(daemon.door) as client:
        told, said = gone.ask()
        gone.send()
        gone.close()
        while client.ask("stats")["outcomes"]["busy"] < 2:
            pass
        assert time.monotonic() < told + said["retry_ms"] / 1000 - 0.1


def test_a_daemon_that_stops_answers_a_held_client_once(full) -> None:
    daemon, url = full
    with closing(Caller(url)) as loop:
        loop.ask()
        loop.send()
        daemon.signal(signal.SIGTERM)
        assert loop.receive("shutting_down")


@pytest.mark.parametrize("name", [b"http", b"mqtt"])
def test_a_zeromq_client_that_calls_itself_as_a_way_in_takes_no_place_of_others(
    scripted, name: bytes
) -> None:
    daemon, url = scripted("intake: {queue_limit: 20, peer_limit: 2}\n", "1000")
    daemon.ready()
    with zmq.Context() as context, context.socket(zmq.DEALER) as flood:
        flood.set(zmq.IDENTITY, name)
        flood.set(zmq.LINGER, 0)
        flood.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
        flood.connect(daemon.door)
        for _ in range(8):  # some are run and decoded, two wait, the others are refused
            flood.send_multipart([b"", b'{"v":1,"encoding":"jpeg"}', CAT])
        while b'"busy"' not in flood.recv_multipart()[-1]:
            pass
        assert post(url, CAT)[0] == 200


def test_a_picture_whose_time_is_over_is_said_to_be(scripted) -> None:
    daemon, url = scripted("")
    daemon.ready()
    status, answer, _ = post(url, CAT, "?age_ms=11&ttl_ms=10")
    assert (status, answer["code"]) == (504, "expired")


def test_a_session_that_fails_is_an_error_of_the_daemon(scripted) -> None:
    daemon, url = scripted("")
    daemon.ready()
    status, answer, _ = post(url, CAT, "?id=fail-run")
    assert (status, answer["code"], answer["id"]) == (500, "internal", "fail-run")
    assert post(url, CAT)[0] == 200


def test_a_daemon_that_stops_answers_what_is_open(scripted) -> None:
    daemon, url = scripted("daemon: {grace_s: 0.1}\n")
    daemon.ready()
    answers = hang(daemon, url)
    daemon.signal(signal.SIGTERM)
    status, answer, _ = answers.get(timeout=PATIENCE_S)
    assert (status, answer["code"]) == (503, "shutting_down")
    assert daemon.wait() == 0


def test_a_daemon_that_gives_up_a_hung_session_answers_what_is_open(scripted) -> None:
    daemon, url = scripted("session: {run_limit_s: 1}\n")
    daemon.ready()
    status, answer, _ = post(url, CAT, "?id=hang-run")
    assert (status, answer["code"]) == (500, "internal")
    assert "running the Session takes longer than 1 s" in answer["detail"]
    assert daemon.wait() == 70
