"""Requests through proxies: every answer finds its way back, whatever its envelope."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from doubles import jpeg
from zeromq_server import ask, header


def test_dealers_with_and_without_a_delimiter_are_answered_in_their_own_form(open_door, connect) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    dealer.send_multipart([jpeg()])
    assert len(dealer.recv_multipart()) == 1
    dealer.send_multipart([b"", jpeg()])
    empty, answer = dealer.recv_multipart()
    assert empty == b"" and json.loads(answer)["status"] == "ok"


@pytest.fixture
def through_proxies(connect) -> Iterator[Callable[[str, int], str]]:
    """The address of the first of some proxies, the last of which is connected to a door."""
    context = zmq.Context()
    threads: list[threading.Thread] = []

    def proxy(front: zmq.Socket[bytes], back: zmq.Socket[bytes]) -> None:
        with pytest.raises(zmq.ContextTerminated):
            zmq.proxy(front, back)
        front.close(0)
        back.close(0)

    def make(address: str, proxies: int) -> str:
        for _ in range(proxies):
            front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
            back.connect(address)
            address = f"tcp://127.0.0.1:{front.bind_to_random_port('tcp://127.0.0.1')}"
            threads.append(threading.Thread(target=proxy, args=(front, back)))
            threads[-1].start()
        return address

    yield make
    context.term()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


REQUESTS = ([jpeg()], [b'{"v":1,"encoding":"jpeg","id":7}', jpeg()], [b'{"v":1,"op":"ping"}'])


def asker(connect, kind: str, address: str) -> Callable[..., dict[str, Any]]:
    """Asks by a socket of this kind."""
    if kind == "dealer":
        dealer = connect(zmq.DEALER, address)
        return lambda *parts: ask(dealer, *parts)
    req = connect(zmq.REQ, address)
    if kind == "req with ids":
        req.set(zmq.REQ_CORRELATE, 1)
        req.set(zmq.REQ_RELAXED, 1)
    return lambda *parts: ask(req, *parts)


@pytest.mark.parametrize("proxies", [0, 1, 3])
@pytest.mark.parametrize("kind", ["req", "req with ids", "dealer"])
def test_every_kind_of_sender_is_answered_through_any_number_of_proxies(
    open_door, connect, through_proxies, kind: str, proxies: int
) -> None:
    send = asker(connect, kind, through_proxies(open_door().section.bind, proxies))
    for _ in range(2):
        for parts in REQUESTS:
            assert send(*parts)["status"] == "ok"
        assert send(header(id="a", colour="red"), jpeg())["id"] == "a"
        assert send(b"a", b"b", b"c")["code"] == "bad_request"
        assert "empty image" in send(b"")["detail"]
        assert "empty image" in send(header(id=3), b"")["detail"]


def test_senders_behind_one_proxy_get_each_their_own_answer(open_door, connect, through_proxies) -> None:
    address = through_proxies(open_door(queue_limit=64, peer_limit=64).section.bind, 1)
    senders = [connect(zmq.REQ, address) for _ in range(5)]
    for number, sender in enumerate(senders):
        sender.send_multipart([header(id=number), jpeg()])
    for number, sender in reversed(list(enumerate(senders))):
        assert json.loads(sender.recv())["id"] == number


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param([], id="none"),
        pytest.param([b""], id="a delimiter"),
        pytest.param([b"\0\1\2\3", b""], id="a request id with zeros"),
        pytest.param([b"camera", b"\0\0\0\0\7", b""], id="a name and a request id"),
        pytest.param([b"x" * 255, b""], id="the longest name"),
        pytest.param([b"n%d" % n for n in range(60)] + [b""], id="sixty proxies"),
        pytest.param([b"\0abcd", b"\0efgh"], id="proxies without a delimiter"),
    ],
)
def test_an_envelope_comes_back_whole(open_door, connect, envelope: list[bytes]) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    for parts in REQUESTS:
        dealer.send_multipart([*envelope, *parts])
        *back, answer = dealer.recv_multipart()
        assert back == envelope and json.loads(answer)["status"] == "ok"


@pytest.mark.parametrize(
    "parts", [[b"x"] * 200, [b""] * 200, [b"n"] * 100 + [b"", jpeg()], [b"x" * 256, b"", jpeg()]]
)
def test_what_is_no_envelope_is_answered_as_a_bad_request(open_door, connect, parts: list[bytes]) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    dealer.send_multipart(parts)
    assert json.loads(dealer.recv_multipart()[-1])["code"] == "bad_request"
    assert ask(dealer, jpeg())["status"] == "ok"
