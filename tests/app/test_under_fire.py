"""Everything bad that can arrive at the real daemon's door: each gets its answer, and so do good frames."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from PIL import Image

from daemon_requests import (
    CAT,
    MIB,
    STATS,
    ask,
    assert_it_serves,
    descriptors,
    header,
    nested,
    png,
    resident_mb,
    stats,
)
from doubles import jpeg
from processes import PATIENCE_S, DaemonProcess
from waiting import until

MANY_CLIENTS = int(os.environ.get("INCV3D_MANY_CLIENTS", "1000"))
"""Ten thousand take a minute or two."""


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One real daemon that has to live through all of it."""
    process = DaemonProcess(state, tmp_path_factory.mktemp("under-fire"))
    yield process.ready()
    assert process.stop() == 0, process.said


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        pytest.param([b""], "bad_request", id="an empty message"),
        *(pytest.param([b"x"] * count, "bad_request", id=f"{count} parts") for count in (2, 3, 4, 5, 6, 7)),
        pytest.param([b""] * 7, "bad_request", id="seven empty parts"),
        pytest.param([b"x"] * 10_000, "bad_request", id="ten thousand parts"),
        pytest.param([bytes(range(256)) * 40], "bad_image", id="garbage"),
        pytest.param([CAT[:3000]], "bad_image", id="a truncated JPEG"),
        pytest.param([CAT[:100] + bytes(len(CAT) - 100)], "bad_image", id="a JPEG of zeros"),
        pytest.param([png(20_000, 20_000)], "too_large", id="a PNG bomb"),
        pytest.param(
            [header(encoding="rgb24", width=0, height=0), b"x"], "bad_request", id="a 0x0 raw frame"
        ),
        pytest.param([header(encoding="rgb24", width=9, height=9), b"x"], "bad_image", id="too few pixels"),
        pytest.param([header(encoding="gif"), CAT], "bad_request", id="an unknown encoding"),
        pytest.param([bytes(40 * MIB)], "too_large", id="40 MiB"),
        pytest.param([b'{"v":1,"encoding":"jpeg","id":"\xff\xfe"}', CAT], "bad_request", id="not UTF-8"),
        pytest.param([header(captured_at=float("nan")), CAT], "bad_request", id="captured at NaN"),
        pytest.param([header(captured_at=1e308), CAT], "bad_request", id="captured at 1e308"),
        pytest.param([header(captured_at=-1e308), CAT], "bad_request", id="captured at -1e308"),
        pytest.param([header(ttl_ms=float("inf")), CAT], "bad_request", id="a TTL of infinity"),
        pytest.param(
            [header(encoding="rgb24", width=1e9, height=1), b"x"], "bad_request", id="a width of 1e9"
        ),
        pytest.param([header(width=10**4000), CAT], "bad_request", id="a width of 4000 digits"),
        pytest.param([b'{"msg":%s}' % (b"9" * 50_000), CAT], "bad_request", id="imagezmq, 50,000 digits"),
        pytest.param([nested(30_000), CAT], "bad_request", id="deeply nested JSON"),
        pytest.param([nested(30_000)], "bad_request", id="a deeply nested question"),
        pytest.param([b'{"v":1,"op":"stop"}'], "bad_request", id="an unknown question"),
        pytest.param([header(age_ms=2, ttl_ms=1), CAT], "expired", id="a frame that is too old"),
    ],
)
def test_what_is_wrong_gets_its_code_and_the_next_frame_its_labels(
    daemon: DaemonProcess, connect, parts: list[bytes], code: str
) -> None:
    door = connect(zmq.DEALER, daemon.door)
    answer = ask(door, *parts)
    assert (answer["status"], answer["code"]) == ("error", code), answer
    assert answer["detail"] and "\n" not in answer["detail"]
    assert ask(door, CAT)["status"] == "ok"


@pytest.mark.parametrize(
    "fields", [{"ttl_ms": 1e300}, {"captured_at": 9e10}, {"id": 10**30}, {"top_k": 1000}]
)
def test_huge_numbers_that_mean_something_are_taken_at_their_word(daemon, connect, fields) -> None:
    answer = ask(connect(zmq.DEALER, daemon.door), header(**fields), CAT)
    assert answer["status"] == "ok" and answer["id"] == fields.get("id")


def test_a_message_of_100_mb_is_cut_off_before_it_is_in_memory(daemon: DaemonProcess, connect) -> None:
    before_mb = resident_mb(daemon, "VmHWM")
    flooder = connect(zmq.DEALER, daemon.door)
    flooder.send(bytes(100_000_000))
    flooder.send(CAT)  # after it was cut off, it has connected again
    assert json.loads(flooder.recv())["status"] == "ok"
    assert resident_mb(daemon, "VmHWM") - before_mb < 90
    assert_it_serves(daemon)


def test_duplicate_ids_get_an_answer_each(daemon: DaemonProcess, connect) -> None:
    door = connect(zmq.DEALER, daemon.door)
    for _ in range(3):
        door.send_multipart([header(id="same"), CAT])
    assert [json.loads(door.recv())["id"] for _ in range(3)] == ["same"] * 3


def test_who_connects_under_a_name_that_is_taken_takes_it_over(daemon: DaemonProcess, connect) -> None:
    for number in range(20):
        door = connect(zmq.DEALER, daemon.door, ROUTING_ID=b"camera")
        # Once it is answered, the name is its own: connections are not made in the order of these lines.
        door.send(json.dumps({"v": 1, "op": "ping", "id": f"ping {number}"}).encode())
        answer_to(door, f"ping {number}")
        door.send_multipart([header(id=f"frame {number}"), CAT])
    while (answer := answer_to(door, "frame 19")).get("code") == "busy":  # with earlier ones of its name
        door.send_multipart([header(id="frame 19"), CAT])
    assert answer["status"] == "ok"
    assert_it_serves(daemon)


def answer_to(door: zmq.Socket, id: str) -> dict:
    """The answer to `id`, among those to whoever had the name before."""
    while (answer := json.loads(door.recv()))["id"] != id:
        pass
    return answer


def test_a_client_that_left_before_its_answer_costs_nothing(daemon: DaemonProcess) -> None:
    for _ in range(5):
        with zmq.Context() as context, context.socket(zmq.DEALER) as door:
            door.set(zmq.LINGER, PATIENCE_S * 1000)
            door.connect(daemon.door)
            door.send(CAT)
    assert_it_serves(daemon)
    until(lambda: stats(daemon)["unanswered"] == 0, "no request is left unanswered")


def test_many_short_lived_clients_leave_no_descriptor_and_no_thread_behind(daemon: DaemonProcess) -> None:
    assert_it_serves(daemon)
    before, threads = descriptors(daemon), daemon.facts("Threads")
    with zmq.Context() as context:
        for number in range(MANY_CLIENTS):
            with context.socket(zmq.DEALER) as door:
                door.set(zmq.LINGER, 0)
                door.connect(daemon.door)
                door.send(b'{"v":1,"op":"ping"}')
                if number % 3:  # every third leaves before its answer
                    assert door.poll(PATIENCE_S * 1000), f"client {number} got no answer"
    assert_it_serves(daemon)
    until(lambda: descriptors(daemon) <= before, "the descriptors were given back")
    assert daemon.facts("Threads") == threads
    assert stats(daemon)["unanswered"] == 0


def test_bytes_that_are_no_zeromq_at_all_are_hung_up_on(scripted, connect) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = scripted(INCV3D_BIND=f"tcp://127.0.0.1:{port}")
    daemon.door = f"tcp://127.0.0.1:{port}"
    for said in (
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100),
        b"\xff" * 100,
        b"\xff" + bytes(8) + b"\x7f" + bytes(60),
    ):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(said)
            assert_it_serves(daemon)


def test_a_subscriber_that_is_stopped_costs_bounded_memory(scripted, connect) -> None:
    daemon = scripted()
    program = (
        "import sys, zmq; s = zmq.Context().socket(zmq.SUB); s.set(zmq.SUBSCRIBE, b''); "
        "s.connect(sys.argv[1]); s.recv(); print('subscribed', flush=True); s.recv(); zmq.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, daemon.results], stdout=subprocess.PIPE, text=True
    ) as subscriber:
        try:
            door = connect(zmq.REQ, daemon.door)
            os.set_blocking(subscriber.stdout.fileno(), False)
            while not subscriber.stdout.readline():
                assert ask(door, jpeg())["status"] == "ok"
            subscriber.send_signal(signal.SIGSTOP)
            before_mb = resident_mb(daemon)
            # More results than the kernel (200 kB) and the 1000 places of ZeroMQ hold.
            for _ in range(2500):
                assert ask(door, header(id="x" * 190), jpeg())["status"] == "ok"
            assert resident_mb(daemon) - before_mb < 20
        finally:
            subscriber.kill()
    assert_it_serves(daemon)


def test_a_peer_that_never_reads_its_answers_costs_bounded_memory(scripted, connect) -> None:
    daemon = scripted()
    deaf = connect(zmq.DEALER, daemon.door, RCVHWM=1, RCVBUF=4096, SNDHWM=10)
    before_mb = resident_mb(daemon)

    def answers_are_dropped() -> bool:
        for _ in range(1000):
            deaf.send(b"no picture at all, and nobody who listens to that")
        return stats(daemon)["undelivered"] > 0

    until(answers_are_dropped, "answers were dropped")
    assert resident_mb(daemon) - before_mb < 30
    assert_it_serves(daemon)
    until(lambda: stats(daemon)["unanswered"] == 0, "all that ZeroMQ still held was answered")


def test_a_picture_of_64_million_pixels_holds_up_nobody_else(scripted, connect) -> None:
    daemon = scripted("intake: {max_pixels: 89000000}", run_ms=1)
    out = io.BytesIO()
    Image.new("RGB", (8000, 8000), "green").save(out, "JPEG", progressive=True)
    big, small = connect(zmq.DEALER, daemon.door), connect(zmq.REQ, daemon.door)
    big.send(out.getvalue())
    served = 0
    while not big.poll(0):
        assert ask(small, CAT)["status"] == "ok"
        served += 1
    answer = json.loads(big.recv())
    assert answer["status"] == "ok"
    # It takes as long to decode as dozens of the others take altogether.
    assert served >= 5, (served, answer["timing_ms"])


def test_at_its_limit_of_descriptors_the_daemon_says_so_and_goes_on(scripted, connect, tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = scripted(INCV3D_BIND=f"tcp://127.0.0.1:{port}")
    door = connect(zmq.REQ, f"tcp://127.0.0.1:{port}")
    assert ask(door, CAT)["status"] == "ok"
    limit = descriptors(daemon) + 10
    subprocess.run(["prlimit", f"--pid={daemon.process.pid}", f"--nofile={limit}"], check=True)
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    daemon.wait_for("all file descriptors are in use")
    assert ask(door, CAT)["status"] == "ok", "who is connected is served"
    assert "descriptors" in ask(door, STATS)["health"]
    for stranger in strangers:
        stranger.close()
    assert ask(connect(zmq.REQ, f"tcp://127.0.0.1:{port}"), CAT)["status"] == "ok"
    until(lambda: ask(door, STATS)["health"] == "ok", "the daemon was well again")
