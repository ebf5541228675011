"""The link and a real broker: its limits are kept, each message is settled, and nothing makes it flap."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from itertools import pairwise

import pytest

from broker_connection import Recorder, settled
from brokers import PATIENCE_S, MosquittoBroker
from incv3d.transports.mqtt.outbox import Outgoing
from waiting import until


def test_a_message_that_the_broker_hangs_up_on_is_dropped_alone(broker, listen, start, caplog) -> None:
    """Mosquitto takes no topic of 200 levels or more, and does not say which message it means."""
    listener = listen(broker, "good/#")
    deep = "/" * 300

    def fill(recorder: Recorder) -> None:
        for number in range(12):
            recorder.send(deep if number == 5 else f"good/{number}")

    recorder = start(broker.port, before=fill)
    for number in range(12):
        if number != 5:
            listener.next(f"good/{number}")
    assert settled(recorder, 12) == sorted([deep, *(f"good/{n}" for n in range(12) if n != 5)])
    assert recorder.connections == 3  # all together, the rest of them one by one, what came after it
    status = recorder.link.status()
    assert (status["published"], status["refused"], status["queued"]) == (11, 1, 0)
    assert caplog.text.count("not published: the connection broke twice when it was sent") == 1
    assert "does another daemon connect as me?" not in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 250


def test_messages_whose_acknowledgement_was_lost_are_sent_again(broker, listen, start) -> None:
    listener = listen(broker, "good/#")
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    os.kill(broker.pid, signal.SIGSTOP)
    for number in range(30):
        recorder.send(f"good/{number}")
    until(lambda: recorder.link.status()["queued"] == 30, "they do not leave")
    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()
    broker.start()
    listener.close()
    listener = listen(broker, "good/#")
    assert settled(recorder, 30) == sorted(f"good/{number}" for number in range(30))
    assert recorder.link.status()["published"] == 30 and recorder.link.status()["refused"] == 0


def test_a_broker_that_admits_no_will_is_said_to_be_the_reason(make_broker, start, caplog) -> None:
    broker = make_broker("allow_anonymous true", "max_qos 0")
    recorder = start(broker.port)
    until(lambda: recorder.link.status()["trouble"], "nothing is said")
    assert recorder.link.status()["trouble"] == "it does not accept the connection: QoS not supported"


def fails() -> bytes:
    raise ValueError("scripted")


def test_every_message_is_settled_once_whatever_becomes_of_it(make_broker, start) -> None:
    broker = make_broker("allow_anonymous true", "max_packet_size 300")
    sent = {
        "good": b"x",
        "empty": lambda: b"",
        "fails": fails,
        "large": bytes(300),
        "wild/+": b"x",
        "l" * 65_536: b"x",
    }

    def fill(recorder: Recorder) -> None:
        for topic, payload in sent.items():
            recorder.send(topic, payload)
        recorder.send("correlation", correlation=bytes(65_536))
        recorder.send("qos 0", qos=0)

    recorder = start(broker.port, before=fill)
    assert settled(recorder, 8) == sorted([*sent, "correlation", "qos 0"])
    recorder.send("last")
    assert len(settled(recorder, 9)) == 9 and recorder.connections == 1
    status = recorder.link.status()
    assert (status["published"], status["refused"], status["queued"]) == (3, 5, 0)


def test_what_the_outbox_drops_is_settled(broker, start) -> None:
    recorder = start(broker.port, limit=3)
    until(lambda: recorder.connections == 1, "it is not let in")
    os.kill(broker.pid, signal.SIGSTOP)
    for number in range(40):
        recorder.send(str(number))
    assert len(recorder.settled) >= 17  # 20 are on the way, 3 wait
    os.kill(broker.pid, signal.SIGCONT)
    assert len(settled(recorder, 40)) == 40
    assert recorder.link.status()["dropped"] >= 17


def test_a_slow_broker_does_not_make_pictures_pile_up(broker, start) -> None:
    """The connection takes what fits; of what waits, only the newest picture is kept."""
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    os.kill(broker.pid, signal.SIGSTOP)
    made = []
    picture = lambda: made.append(1) or bytes(3_000_000)  # noqa: E731
    for _ in range(30):
        seen, deadline = len(recorder.settled), time.monotonic() + 0.1
        recorder.send("image", picture, qos=0, is_latest=True)
        while len(recorder.settled) == seen and time.monotonic() < deadline:  # it leaves, or has no room
            time.sleep(0.005)
    os.kill(broker.pid, signal.SIGCONT)
    assert len(settled(recorder, 30)) == 30
    # What Linux takes for a connection on this machine is a few megabytes.
    assert len(made) < 15, f"{len(made)} pictures were made for a broker that takes none"


def test_descriptors_beyond_1024_are_no_trouble(broker, start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"needs 2000 file descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    try:
        with contextlib.ExitStack() as files:
            while files.enter_context(open(os.devnull)).fileno() < 1100:  # noqa: PTH123
                pass
            recorder = start(broker.port, before=lambda it: it.send("good"))
            assert settled(recorder, 1) == ["good"] and recorder.connections == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_takes_connections_and_says_nothing_is_no_broker(start, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.transports.mqtt.connection.CONNECTING_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        recorder = start(server.getsockname()[1])
        until(lambda: recorder.link.status()["trouble"], "it is waited for")
        assert recorder.link.status()["trouble"] == "it does not accept the connection; is it an MQTT broker?"


def test_pauses_grow_while_a_broker_is_away_and_while_it_hangs_up(broker, start, monkeypatch) -> None:
    paused: list[int] = []
    monkeypatch.setattr(
        "incv3d.transports.mqtt.connection.back_off_s",
        lambda failures, *_: paused.append(failures) or 0.05,
    )
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    broker.stop()
    until(lambda: len(paused) > 4, "it does not try again")
    broker.start()
    until(lambda: recorder.connections == 2, "it does not come again")
    broker.stop()
    until(lambda: len(paused) > 20, "it does not try again")
    assert paused == list(range(1, len(paused) + 1))


def test_the_pauses_are_waited_for(start, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.transports.mqtt.connection.FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("incv3d.transports.mqtt.connection.LONGEST_PAUSE_S", 0.4)
    came: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        start(server.getsockname()[1])
        while len(came) < 6:
            server.accept()[0].close()
            came.append(time.monotonic())
    pauses_s = [after - before for before, after in pairwise(came)]
    # Half of each pause at least: the other half is random.
    assert all(s >= least_s for s, least_s in zip(pauses_s, (0.05, 0.1, 0.2, 0.2, 0.2), strict=True)), (
        pauses_s
    )


def test_pauses_begin_small_again_after_a_connection_that_lasted(broker, start, monkeypatch) -> None:
    paused: list[int] = []
    monkeypatch.setattr(
        "incv3d.transports.mqtt.connection.back_off_s",
        lambda failures, *_: paused.append(failures) or 0.05,
    )
    monkeypatch.setattr("incv3d.transports.mqtt.connection.LONGEST_PAUSE_S", 0.5)
    broker.stop()
    recorder = start(broker.port)
    until(lambda: len(paused) > 3, "it does not try again")
    broker.start()
    until(lambda: recorder.connections, "it is not let in")
    lasted = time.monotonic() + 0.6
    until(lambda: time.monotonic() > lasted, "time stands still")
    before = len(paused)
    broker.stop()
    until(lambda: len(paused) > before + 1, "it does not try again")
    assert paused[:before] == list(range(1, before + 1))
    assert paused[before : before + 2] == [1, 2]


def test_each_absence_of_a_broker_is_a_line(broker, start, caplog, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.transports.mqtt.connection.back_off_s", lambda failures, *delays: 0.05)
    recorder = start(broker.port)
    for number in (1, 2):
        until(lambda number=number: recorder.connections == number, "it is not let in")
        broker.stop()
        until(lambda: recorder.link.status()["trouble"] == "connection refused", "it does not try again")
        broker.start()
    until(lambda: recorder.connections == 3, "it does not come again")
    assert caplog.text.count("continuing without it") == 2


def test_a_farewell_is_the_last_that_is_sent(broker, listen, start) -> None:
    listener = listen(broker, "#")
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    for number in range(100):
        recorder.send(f"good/{number}")
    assert recorder.link.close(10, Outgoing("farewell", b"x", is_latest=True))
    listener.next("farewell")
    assert [message.topic for message in listener.seen] == [f"good/{n}" for n in range(100)] + ["farewell"]
    assert len(recorder.settled) == 100


def test_a_broker_is_sent_the_will_of_a_link_that_is_cut(broker: MosquittoBroker, listen, start) -> None:
    listener = listen(broker, "gone")
    recorder = start(broker.port)
    until(lambda: recorder.connections == 1, "it is not let in")
    recorder.link._client.socket().shutdown(socket.SHUT_RDWR)
    assert listener.next("gone").payload == b"offline"
    until(lambda: recorder.connections == 2, "it does not come again")
