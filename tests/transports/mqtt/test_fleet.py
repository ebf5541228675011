"""Daemons that share the frames of a real broker, and ``incv3d send`` to them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paho.mqtt import publish

from doubles import jpeg
from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import environment, run_incv3d
from waiting import until

pytestmark = pytest.mark.slow

FLEET = {"frames": "incv3d/frames/#"}
DEMO = str(demo_folder())


def frames(daemon) -> dict:
    with Client(daemon.door) as client:
        return client.ask("stats")["mqtt"]["frames"]


def joined(broker, *names: str) -> None:
    """Wait until each holds its subscription."""
    for name in names:
        until(lambda name=name: f"incv3d-{name} 1 $share/" in broker.said, f"{name} does not subscribe")


def begin(folder: Path, broker, *words: str) -> subprocess.Popen[str]:
    url = f"mqtt://127.0.0.1:{broker.port}"
    command = [sys.executable, "-m", "incv3d", "send", DEMO, "--mqtt", url, *words]
    return subprocess.Popen(
        command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def report_of(process: subprocess.Popen[str], status: int = 0) -> dict:
    out, err = process.communicate(timeout=100)
    assert process.returncode == status and out, (out, err)
    return json.loads(out)


def send(folder: Path, broker, *words: str) -> dict:
    return report_of(begin(folder, broker, "--json", *words))


def test_a_frame_is_answered_where_its_sender_wants_it(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    start_daemon(broker, FLEET)
    joined(broker, "pi")
    said = {"ResponseTopic": "answers/me", "CorrelationData": b"7", "UserProperty": [("id", "a")]}
    listener.publish("incv3d/frames/door", jpeg(), **said)
    answer = listener.next("answers/me")
    found = json.loads(answer.payload)
    assert (found["status"], found["id"], found["predictions"][0]["label"]) == ("ok", "a", "label 1")
    assert answer.properties.CorrelationData == b"7"
    assert dict(answer.properties.UserProperty)["daemon"] == "pi"


@pytest.mark.parametrize(
    ("payload", "code"), [(b"no picture", "bad_image"), (b"", "bad_request"), (bytes(2000), "too_large")]
)
def test_every_frame_is_answered_also_a_bad_one(broker, listen, start_daemon, payload, code) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET, intake={"max_message_bytes": 1024})
    joined(broker, "pi")
    listener.publish("incv3d/frames/door", payload, ResponseTopic="answers/me")
    assert json.loads(listener.next("answers/me").payload)["code"] == code
    until(lambda: frames(daemon)["held"] == 0, "it is still held")


def test_a_frame_that_wants_no_answer_is_a_result_like_others(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, FLEET)
    joined(broker, "pi")
    # More than the broker may send unacknowledged.
    for _ in range(30):
        listener.publish("incv3d/frames/door", jpeg())
        assert json.loads(listener.next("incv3d/pi/result/mqtt").payload)["label"] == "label 1"
    until(lambda: frames(daemon)["answered"] == 30, "one is still held")


def test_requests_of_the_same_number_elsewhere_are_left_alone(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET, run_ms=200)
    joined(broker, "pi")
    with Client(daemon.door) as client:
        said = {"ResponseTopic": "answers/me", "UserProperty": [("id", "mine")]}
        listener.publish("incv3d/frames/door", jpeg(), **said)
        assert client.classify(jpeg()).predictions
    assert json.loads(listener.next("answers/me").payload)["id"] == "mine"


def test_frames_are_shared_and_each_answered_once(broker, start_daemon, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        start_daemon(broker, {**FLEET, "name": name}, run_ms=20)
    joined(broker, "a", "b", "c")
    report = send(tmp_path, broker, "--repeat", "25", "--concurrency", "9")
    assert report["outcomes"]["ok"]["count"] == report["sent"] == 100
    assert report["duplicates"] == 0 and sum(report["answered_by"].values()) == 100
    assert min(report["answered_by"].values()) >= 15, report["answered_by"]


def test_a_fast_daemon_takes_more_than_a_slow_one(broker, start_daemon, tmp_path: Path) -> None:
    start_daemon(broker, {**FLEET, "name": "fast"}, run_ms=50)
    start_daemon(broker, {**FLEET, "name": "slow"}, run_ms=400)
    joined(broker, "fast", "slow")
    shares = send(tmp_path, broker, "--repeat", "15", "--concurrency", "8")["answered_by"]
    # Their speeds are as 8 to 1; handed out in turn it would be 1.
    assert shares["fast"] > 3 * shares["slow"], shares


def test_no_frame_is_lost_with_a_daemon_that_is_killed(broker, start_daemon, tmp_path: Path) -> None:
    daemons = {name: start_daemon(broker, {**FLEET, "name": name}, run_ms=50) for name in ("a", "b", "c")}
    joined(broker, *daemons)
    words = ("--repeat", "50", "--concurrency", "8", "--timeout", "1.5", "--retries", "20", "--json")
    process = begin(tmp_path, broker, *words)
    for name in ("a", "b"):
        until(lambda name=name: frames(daemons[name])["held"] > 0, "it has no frame")
        daemons[name].signal(signal.SIGKILL)
        daemons[name].wait()
    report = report_of(process)
    assert report["outcomes"]["ok"]["count"] == report["sent"] == 200
    assert report["duplicates"] == 0


def test_a_daemon_that_stops_gives_its_frames_back(broker, listen, start_daemon, tmp_path: Path) -> None:
    """At once: nobody waits for the time that an answer may take."""
    leaving = start_daemon(broker, {**FLEET, "name": "leaving"}, run_ms=100)
    staying = start_daemon(broker, {**FLEET, "name": "staying"}, run_ms=10)
    joined(broker, "leaving", "staying")
    listener = listen(broker, "nothing")
    listener.publish("incv3d/staying/command", b"pause")
    until(lambda: "incv3d-staying $share/" in broker.said, "it still takes frames")
    process = begin(tmp_path, broker, "--repeat", "25", "--concurrency", "4", "--timeout", "60", "--json")
    until(lambda: frames(leaving)["held"] > 0, "it has no frame")
    assert frames(staying)["taken"] == 0
    listener.publish("incv3d/staying/command", b"resume")
    assert leaving.stop() == 0
    report = report_of(process)
    assert "staying" in report["answered_by"] and report["duplicates"] == 0
    assert report["elapsed_s"] < 50


def test_who_listens_to_everything_does_no_harm(broker, listen, start_daemon, tmp_path: Path) -> None:
    """The broker says then of every frame that somebody has it."""
    listen(broker, "#")
    start_daemon(broker, FLEET, run_ms=30)
    joined(broker, "pi")
    report = send(tmp_path, broker, "--repeat", "5", "--concurrency", "12", "--timeout", "60")
    assert report["outcomes"].keys() == {"ok"} and report["elapsed_s"] < 10


def test_a_paused_daemon_takes_no_frames(broker, listen, start_daemon, tmp_path: Path) -> None:
    listener = listen(broker, "incv3d/pi/state")
    daemon = start_daemon(broker, FLEET)
    joined(broker, "pi")
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: listener.publish("incv3d/frames/x", jpeg()).value == 0x10, "it still takes frames")
    listener.publish("incv3d/pi/command", b"resume")
    assert send(tmp_path, broker)["outcomes"].keys() == {"ok"}
    assert frames(daemon)["held"] == 0


def test_the_answer_of_a_frame_whose_connection_broke_arrives(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET, run_ms=1500)
    joined(broker, "pi")
    listener.publish("incv3d/frames/door", jpeg(), ResponseTopic="answers/me", CorrelationData=b"7")
    until(lambda: frames(daemon)["held"] == 1, "it is not taken")
    # Another client of its name throws it out.
    publish.single("x", hostname="127.0.0.1", port=broker.port, client_id="incv3d-pi")
    daemon.wait_for("the connection was lost")
    assert listener.next("answers/me").properties.CorrelationData == b"7"


def test_a_frame_that_is_too_old_is_not_classified(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    start_daemon(broker, FLEET)
    joined(broker, "pi")
    said = [("ttl_ms", "50"), ("age_ms", "51")]
    listener.publish("incv3d/frames/door", jpeg(), ResponseTopic="answers/me", UserProperty=said)
    assert json.loads(listener.next("answers/me").payload)["code"] == "expired"


def test_a_picture_that_is_larger_than_the_broker_takes_costs_itself(
    make_broker, start_daemon, tmp_path: Path
) -> None:
    broker = make_broker("allow_anonymous true", "max_packet_size 3000")
    start_daemon(broker, {**FLEET, "discovery": ""})
    joined(broker, "pi")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, data in (("a", jpeg()), ("b", jpeg() + bytes(3000)), ("c", jpeg())):
        (pictures / f"{name}.jpg").write_bytes(data)
    done = run_incv3d(tmp_path, "send", str(pictures), "--mqtt", f"mqtt://127.0.0.1:{broker.port}")
    assert done.returncode == 1 and done.stdout.count("label 1") == 2, (done.stdout, done.stderr)
    assert "b.jpg: bad_request: the broker rejected it: Packet too large" in done.stdout + done.stderr


def test_without_a_fleet_it_is_said_that_nobody_is_there(broker, tmp_path: Path) -> None:
    process = begin(tmp_path, broker, "--timeout", "1")
    out, _ = process.communicate(timeout=50)
    assert process.returncode == 1
    # On a busy machine the broker's word on the last try of one of them may be late.
    assert ".jpg: busy: no daemon is connected to the broker" in out


def test_without_a_broker_it_ends_with_one_line(broker, tmp_path: Path) -> None:
    broker.stop()
    _, err = begin(tmp_path, broker).communicate(timeout=50)
    assert err == f"incv3d: 127.0.0.1:{broker.port}: cannot connect: connection refused\n"


def test_a_broker_that_lets_nobody_in_ends_it_with_one_line(make_broker, tmp_path: Path) -> None:
    process = begin(tmp_path, make_broker("allow_anonymous false"))
    _, err = process.communicate(timeout=50)
    assert process.returncode == 1 and err.count("\n") == 1
    assert "the broker rejected the connection: Not authorized (check USER@ and $INCV3D_MQTT_PASSWORD)" in err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://10.0.0.5", "must look like mqtt://10.0.0.5"),
        ("mqtt://", "must look like"),
        ("mqtt://h:port", "must look like"),
        ("mqtt://me:secret@h", "set the password in $INCV3D_MQTT_PASSWORD"),
        ("mqtt://h/frames/%23", "cannot publish to the topic `frames/#`"),
    ],
)
def test_an_address_that_is_none_is_one_line(tmp_path: Path, url, words) -> None:
    done = run_incv3d(tmp_path, "send", DEMO, "--mqtt", url)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_what_is_answered_twice_is_counted(broker, start_daemon, tmp_path: Path) -> None:
    start_daemon(
        broker, {**FLEET, "receive_maximum": 50}, run_ms=300, intake={"peer_limit": 50, "queue_limit": 99}
    )
    joined(broker, "pi")
    words = ("--timeout", "0.2", "--retries", "50", "--repeat", "2", "--json")
    report = report_of(begin(tmp_path, broker, *words))
    assert report["outcomes"]["ok"]["count"] == report["sent"] == 8 and report["duplicates"] >= 1, report
