"""Images over HTTP to a daemon that is busy, fails, or stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zmq

from http_classify import CAT, post
from incv3d.client import Client
from processes import PATIENCE_S, ScriptedDaemon


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
