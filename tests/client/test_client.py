"""The client that people import: what it sends, and what it says when no answer comes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from fake_server import Request, ScriptedPeer, answer, label, refusal, silent
from incv3d.client import Client, ClientError, NoAnswer, Refused, results
from incv3d.protocol import messages

JPEG = b"\xff\xd8\xff" + bytes(10)
NOW = messages.Clocks(monotonic=1000.0, unix=time.time())


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/door"


def as_frame(request: Request):
    header = {key: value for key, value in request.items() if key not in ("peer", "data")}
    return messages.parse([json.dumps(header).encode(), request["data"]], NOW, 0, 10**6).frame


def test_a_picture_is_sent_with_its_format_and_what_was_asked_for(address: str) -> None:
    with ScriptedPeer(address) as peer, Client(address) as client:
        found = client.classify(JPEG, top_k=3, ttl_ms=500)
        client.classify(bytearray(b"\x89PNG\r\n\x1a\n123"), captured_at=5.0)
    first, second = peer.requests
    assert (first["encoding"], first["top_k"], first["ttl_ms"], first["data"]) == ("jpeg", 3, 500, JPEG)
    assert "captured_at" not in first and "age_ms" not in first, "no clock of this machine is asked"
    assert (second["encoding"], second["captured_at"]) == ("png", 5.0)
    assert found.predictions and found.predictions[0].label == "cat"


def test_an_unknown_order_of_channels_is_said(address: str) -> None:
    with Client(address) as client, pytest.raises(ClientError, match="`rgb` or `bgr`, not `BGR`"):
        client.classify_pixels(np.zeros((2, 2, 3), np.uint8), order="BGR")  # type: ignore[arg-type]


def test_pixels_arrive_as_they_are_seen(address: str) -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    views = [
        (pixels, "bgr"),
        (pixels, "rgb"),
        (pixels[:, ::-1], "bgr"),
        (pixels[:, :, 1], "bgr"),
        (pixels[:, :, :1], "rgb"),
    ]
    with ScriptedPeer(address) as peer, Client(address) as client:
        for view, order in views:
            client.classify_pixels(view, order=order)
        client.classify_pixels(memoryview(bytes(6)).cast("B", (3, 2)))
    *frames, plain = map(as_frame, peer.requests)
    assert [frame.encoding for frame in frames] == ["bgr24", "rgb24", "bgr24", "gray8", "gray8"]
    for frame, (view, _) in zip(frames, views, strict=True):
        assert (frame.width, frame.height, bytes(frame.data)) == (4, 2, view.tobytes())
    assert (plain.encoding, plain.width, plain.height) == ("gray8", 2, 3)


def test_an_age_is_sent_as_it_was_when_the_call_was_made_and_grows_until_it_is_sent(address: str) -> None:
    def busy_once(number: int, request: Request) -> list[Request]:
        return [refusal(request, "busy", retry_ms=100)] if number in (0, 2) else label(number, request)

    with ScriptedPeer(address, busy_once) as peer, Client(address, wait_if_busy=True) as client:
        client.classify(JPEG, age_ms=1000)
        client.classify(JPEG)
        client.classify_pixels(np.zeros((2, 2, 4), np.uint8), age_ms=0)
        client.classify(JPEG, captured_at=5.0)
        with pytest.raises(ClientError, match="captured_at and age_ms"):
            client.classify(JPEG, captured_at=5.0, age_ms=1)
    first, again, plain, plain_again, pixels, dated = peer.requests
    assert 1000 <= first["age_ms"] < again["age_ms"] - 99
    assert "age_ms" not in plain and 100 <= plain_again["age_ms"] < 60_000
    assert pixels.get("age_ms", 0) < 1000
    assert dated["captured_at"] == 5.0 and "age_ms" not in dated


@pytest.mark.parametrize(("order", "encoding"), [("bgr", "bgra"), ("rgb", "rgba")])
def test_pixels_of_four_channels_are_sent_as_they_are(address: str, order, encoding: str) -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    with ScriptedPeer(address) as peer, Client(address) as client:
        client.classify_pixels(pixels, order=order)
    frame = as_frame(peer.requests[0])
    assert (frame.encoding, frame.width, frame.height, bytes(frame.data)) == (
        encoding,
        3,
        2,
        pixels.tobytes(),
    )


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 3), np.int8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros(12, np.uint8),
        np.uint8(3),
        b"not pixels",
    ],
)
def test_what_is_no_picture_of_bytes_is_said_so_before_it_is_sent(address: str, pixels) -> None:
    with Client(address) as client, pytest.raises(ClientError, match=r"\(height, width, 3\).*not "):
        client.classify_pixels(pixels)


def test_a_refusal_says_why(address: str) -> None:
    def script(number: int, request: Request) -> list[Request]:
        return [refusal(request, "busy", retry_ms=40)]

    with ScriptedPeer(address, script), Client(address) as client:
        with pytest.raises(Refused, match="busy: no") as caught:
            client.classify(JPEG)
        assert caught.value.code == "busy" and caught.value.answer.retry_ms == 40
        with pytest.raises(Refused):
            client.ask("stats")


def test_busy_is_asked_again_under_the_same_id_if_wanted(address: str) -> None:
    def script(number: int, request: Request) -> list[Request]:
        return [refusal(request, "busy", retry_ms=20)] if number < 3 else label(number, request)

    with ScriptedPeer(address, script) as peer, Client(address, wait_if_busy=True) as client:
        assert client.classify(JPEG).status == "ok"
    assert len(peer.requests) == 4 and len({request["id"] for request in peer.requests}) == 1


def test_waiting_for_a_busy_daemon_ends_with_its_refusal(address: str) -> None:
    def script(number: int, request: Request) -> list[Request]:
        return [refusal(request, "busy")]

    with ScriptedPeer(address, script) as peer, Client(address, 0.4, wait_if_busy=True) as client:
        with pytest.raises(Refused, match="busy"):
            client.classify(JPEG)
        assert len(peer.requests) > 1


def test_what_is_not_answered_is_sent_again_and_then_given_up(address: str) -> None:
    with (
        ScriptedPeer(address, silent) as peer,
        Client(address, 0.1, retries=2) as client,
        pytest.raises(NoAnswer, match=r"within 0\.1 s; is incv3d running"),
    ):
        client.classify(JPEG)
    assert len(peer.requests) == 3 and len({request["id"] for request in peer.requests}) == 1


def test_an_answer_that_comes_too_late_is_not_the_next_calls(address: str) -> None:
    held: list[Request] = []

    def script(number: int, request: Request) -> list[Request]:
        held.append(answer(request, op="ping", state=f"answer {number}"))
        return [] if number == 0 else held

    with ScriptedPeer(address, script), Client(address, 0.2) as client:
        with pytest.raises(NoAnswer):
            client.ask("ping")
        client.timeout_s = 20
        assert client.ask("ping")["state"] == "answer 1"


def test_a_daemon_that_goes_away_is_noticed_at_once(address: str) -> None:
    peer = ScriptedPeer(address, silent)
    closer = threading.Thread(target=lambda: (peer.wait_for_request(), peer.close()))
    closer.start()
    with Client(address, timeout_s=60) as client:
        started = time.monotonic()
        with pytest.raises(NoAnswer, match="the connection was lost"):
            client.classify(JPEG)
        assert time.monotonic() - started < 30, "it waited for its timeout"
    closer.join()


def test_what_a_stopping_daemon_refused_is_sent_again_to_the_next(address: str) -> None:
    def stopping_first(number: int, request: Request) -> list[Request]:
        return [refusal(request, "shutting_down")] if number < 2 else label(number, request)

    with ScriptedPeer(address, stopping_first) as peer, Client(address, retries=1) as client:
        with pytest.raises(Refused, match="shutting_down"):
            client.classify(JPEG)
        assert client.classify(JPEG).status == "ok"
    assert [request["id"] for request in peer.requests] == [1, 1, 2]
    with ScriptedPeer(address, stopping_first), Client(address, retries=2) as client:
        assert client.classify(JPEG).status == "ok"


def test_a_request_lost_in_a_restart_is_made_again(address: str) -> None:
    first = ScriptedPeer(address, silent)
    second: list[ScriptedPeer] = []

    def restart() -> None:
        first.wait_for_request()
        first.close()
        second.append(ScriptedPeer(address))

    restarter = threading.Thread(target=restart)
    restarter.start()
    with Client(address, timeout_s=20, retries=1) as client:
        assert client.classify(JPEG).status == "ok"
    restarter.join()
    second[0].close()
    assert [request["id"] for request in first.requests + second[0].requests] == [1, 1]


def test_frames_for_a_daemon_that_is_away_are_not_kept_for_it(address: str) -> None:
    with Client(address, timeout_s=0.1) as client:
        for _ in range(3):
            with pytest.raises(NoAnswer, match=r"nothing listens at that address; is incv3d running\?"):
                client.classify(JPEG)
        with ScriptedPeer(address) as peer:
            client.timeout_s = 20
            client.ask("ping")
        assert [request.get("op") for request in peer.requests] == ["ping"]


def test_something_else_at_the_address_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                connection.close()

        threading.Thread(target=greet, daemon=True).start()
        with (
            Client(f"tcp://127.0.0.1:{port}", timeout_s=0.3) as client,
            pytest.raises(NoAnswer, match="is not an incv3d daemon"),
        ):
            client.ask("ping")


@pytest.mark.parametrize("raw", [b"pong", b"\xff", b"[]", b'{"id":1,"status":"fine","v":1}'])
def test_an_answer_of_something_else_is_an_error(address: str, raw: bytes) -> None:
    def script(number: int, request: Request) -> list[Request]:
        return [{"peer": request["peer"], "raw": raw}]

    with (
        ScriptedPeer(address, script),
        Client(address, timeout_s=20) as client,
        pytest.raises(ClientError, match=r"not incv3d|another wire format"),
    ):
        client.classify(JPEG)


def test_an_address_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ClientError, match="nonsense: cannot connect"):
        Client("nonsense")


def test_a_second_thread_is_told_to_take_its_own(address: str) -> None:
    peer = ScriptedPeer(address, silent)
    with Client(address) as client:

        def wait() -> None:
            with pytest.raises(NoAnswer, match="the connection was lost"):
                client.classify(JPEG)

        first = threading.Thread(target=wait)
        first.start()
        peer.wait_for_request()
        with pytest.raises(ClientError, match="another thread"):
            client.ask("ping")
        peer.close()
        first.join()


def test_a_closed_client_says_so(address: str) -> None:
    client = Client(address)
    client.close()
    client.close()
    with pytest.raises(ClientError, match="closed"):
        client.ask("ping")


def test_ctrl_c_ends_a_wait(address: str) -> None:
    code = f"from incv3d.client import Client\nwith Client({address!r}) as c: c.classify({JPEG!r})"
    with ScriptedPeer(address, silent) as peer:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        peer.wait_for_request()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said


def test_a_sender_needs_no_numpy() -> None:
    code = (
        "import sys, incv3d.client; print(sorted({'numpy', 'PIL', 'simplejpeg', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_are_those_of_the_source_that_was_named(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/results"
    stop = threading.Event()

    def publish() -> None:
        with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
            publisher.set(zmq.LINGER, 0)
            publisher.bind(address)
            while not stop.wait(0.01):  # again and again: a subscription takes a moment to arrive
                for source in ("door2", "zmq", "door"):
                    body = {"v": 1, "id": source, "status": "ok", "predictions": []}
                    publisher.send_multipart([messages.topic(source), json.dumps(body).encode()])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        doors = results(address, source="door", timeout_s=20)
        assert [next(doors).answer.id for _ in range(3)] == ["door"] * 3
        doors.close()
        everything = results(address, timeout_s=20)
        assert {next(everything).source for _ in range(6)} == {"door", "door2", "zmq"}
        everything.close()
    finally:
        stop.set()
        thread.join()


def test_results_that_do_not_come_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match="nothing was published"):
        next(results(f"ipc://{tmp_path}/nobody", timeout_s=0.1))
