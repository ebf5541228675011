"""A real daemon and a real broker: what is published, what is obeyed, and what a broker's absence costs."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from paho.mqtt import publish

from brokers import until
from doubles import jpeg
from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import run_incv3d

DISCOVERY = "homeassistant/device/incv3d_pi/config"
CAMERA = {"type": "images", "path": str(demo_folder()), "fps": 20}


def facts(daemon) -> dict:
    with Client(daemon.door) as client:
        return client.ask("stats")


def ready_to_listen(daemon) -> None:
    # The broker has what it published after it had subscribed.
    until(lambda: facts(daemon)["mqtt"]["published"], "the broker does not let it in")


def test_results_state_and_discovery_are_published(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    result = json.loads(listener.next("incv3d/pi/result/camera").payload)
    assert (result["label"], result["model"], result["source"]) == ("label 1", "scripted", "camera")
    # What is retained is there for who comes later.
    late = listen(broker)
    assert late.next("incv3d/pi/availability").payload == b"online"
    device = json.loads(late.next(DISCOVERY).payload)
    assert device["device"]["model"] == "scripted" and "label_camera" in device["components"]
    states = listen(broker, "incv3d/pi/state")
    state = json.loads(states.next("incv3d/pi/state").payload)
    while state["source"] == "opening":  # as it was when it was published first
        state = json.loads(states.next("incv3d/pi/state").payload)
    assert (state["state"], state["health"], state["paused"], state["source"]) == ("ready", "ok", False, "ok")
    assert daemon.stop() == 0
    assert late.next("incv3d/pi/availability").payload == b"offline"


def test_what_enters_is_published_and_home_assistant_told_of_it(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA, events={"allow": ["label 1"]})
    event = json.loads(listener.next("incv3d/pi/event/camera").payload)
    assert (event["event"], event["label"], event["source"]) == ("entered", "label 1", "camera")
    device = json.loads(listen(broker).next(DISCOVERY).payload)
    assert "event_camera" in device["components"]
    assert daemon.stop() == 0
    event = json.loads(listener.next("incv3d/pi/event/camera").payload)
    assert (event["event"], event["reason"]) == ("left", "stopping")


def test_another_source_is_told_of_when_the_configuration_is_read_again(broker, listen, start_daemon) -> None:
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener = listen(broker)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    text = daemon.config.read_text().replace('"type": "images"', '"name": "door", "type": "images"')
    daemon.config.write_text(text)
    daemon.signal(signal.SIGHUP)
    while "label_door" not in json.loads(listener.next(DISCOVERY).payload)["components"]:
        pass
    # It is as paused as the one before.
    until(lambda: facts(daemon)["source"]["frames"] > 3, "the new source brings nothing")
    assert not any(message.topic == "incv3d/pi/result/door" for message in listener.seen)
    listener.publish("incv3d/pi/command", b"resume")
    listener.next("incv3d/pi/result/door")


def test_nothing_is_told_to_home_assistant_unasked(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    start_daemon(broker, {"discovery": ""}, source=CAMERA)
    listener.next("incv3d/pi/state")
    listener.next("incv3d/pi/result/camera")
    assert not any(message.topic.startswith("homeassistant") for message in listener.seen)


def test_the_broker_says_that_a_killed_daemon_is_offline(broker, listen, start_daemon) -> None:
    listener = listen(broker, "incv3d/pi/availability")
    daemon = start_daemon(broker)
    listener.next("incv3d/pi/availability", b"online")
    daemon.signal(signal.SIGKILL)
    listener.next("incv3d/pi/availability", b"offline")


def test_a_flood_of_pauses_ends_as_the_last_one_says_and_floods_no_log(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    for _ in range(500):
        listener.publish("incv3d/pi/command", b"pause")
        listener.publish("incv3d/pi/command", b"resume")
    listener.publish("incv3d/pi/command", b"pause")
    # Asked again: until the last command has come, it may be paused by an earlier one.
    until(lambda: all(facts(daemon)["paused"] for _ in range(20)), "it is not paused")
    assert daemon.stop() == 0
    assert sum("paused:" in line or "resumed" in line for line in daemon.said) < 10


def test_a_camera_is_paused_and_goes_on(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    listener.next("incv3d/pi/result/camera")
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    while not json.loads(listener.next("incv3d/pi/state").payload)["paused"]:
        pass
    classified = facts(daemon)["outcomes"]["ok"]
    captured = facts(daemon)["source"]["frames"]
    until(lambda: facts(daemon)["source"]["frames"] > captured + 5, "the camera stands still")
    assert facts(daemon)["outcomes"]["ok"] <= classified + 1  # one may have been on its way
    with Client(daemon.door) as client:  # who asks is answered all the same
        assert client.classify(jpeg()).predictions
    listener.publish("incv3d/pi/command", b"resume")
    until(lambda: facts(daemon)["outcomes"]["ok"] > classified + 5, "it does not go on")
    assert facts(daemon)["paused"] is False


def test_a_film_stands_still_meanwhile(broker, listen, start_daemon) -> None:
    film = {**CAMERA, "every_frame": True, "loop": False, "fps": 50}
    listener = listen(broker)
    # A run takes as long as it takes to be paused in the middle of the four pictures.
    daemon = start_daemon(broker, {}, 300, source=film)
    listener.next("incv3d/pi/result/camera")
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    listener.publish("incv3d/pi/command", b"resume")
    daemon.wait_for("has no more frames")
    pictures = len(list(demo_folder().glob("*.jpg")))
    until(lambda: facts(daemon)["outcomes"]["ok"] == pictures, "a frame of the film is missing")


def test_a_snapshot_is_the_picture_of_the_camera(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"snapshot")
    picture = listener.next("incv3d/pi/image/camera").payload
    assert picture in [path.read_bytes() for path in demo_folder().glob("*.jpg")]


def test_pictures_are_published_where_they_are_asked_for(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    start_daemon(broker, {"image": True}, source={**CAMERA, "transform": "rotate90"})
    assert listener.next("incv3d/pi/image/camera").payload.startswith(b"\xff\xd8\xff")


def test_a_threshold_is_changed_and_shown(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"threshold 0.8")
    while json.loads(listener.next("incv3d/pi/result/camera").payload)["label"] is not None:
        pass
    until(lambda: json.loads(listener.next("incv3d/pi/state").payload)["threshold"] == 0.8, "not shown")


def test_what_is_no_command_is_said_and_does_nothing(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"reboot")
    assert "`reboot` is no command; possible are pause," in daemon.wait_for("reboot")


def test_a_retained_command_of_yesterday_is_not_obeyed(broker, start_daemon) -> None:
    publish.single("incv3d/pi/command", "pause", 1, True, "127.0.0.1", broker.port)
    daemon = start_daemon(broker)
    ready_to_listen(daemon)
    assert facts(daemon)["paused"] is False


def test_a_broker_that_is_away_is_said_once_and_costs_no_frame(broker, listen, start_daemon) -> None:
    daemon = start_daemon(broker, {"queue_limit": 5}, source=CAMERA)
    ready_to_listen(daemon)
    broker.stop()
    daemon.wait_for("the connection was lost; going on without it")
    classified = facts(daemon)["outcomes"]["ok"]
    # More than fit into its queue, and several attempts to connect.
    until(lambda: facts(daemon)["outcomes"]["ok"] > classified + 60, "it does not classify on")
    status = facts(daemon)["mqtt"]
    assert status["connected"] is False and status["dropped"] > 0
    assert facts(daemon)["health"] == "ok"
    broker.start()
    assert " after " in daemon.wait_for("mqtt: connected")
    listener = listen(broker)
    assert listener.next("incv3d/pi/availability").payload == b"online"
    listener.next("incv3d/pi/result/camera")
    assert daemon.stop() == 0
    assert sum("going on without it" in line for line in daemon.said) == 1, daemon.said


def test_a_broker_that_is_not_there_yet_is_waited_for(broker, listen, start_daemon) -> None:
    broker.stop()
    daemon = start_daemon(broker, source=CAMERA)
    if not any("mqtt:" in line for line in daemon.said):
        daemon.wait_for("mqtt:")
    assert any("connection refused; going on without it" in line for line in daemon.said)
    broker.start()
    daemon.wait_for("mqtt: connected")
    listen(broker).next("incv3d/pi/result/camera")


def test_what_listens_there_may_be_no_broker(broker, start_daemon) -> None:
    broker.stop()
    with socket.create_server(("127.0.0.1", broker.port)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" * 20)

        thread = threading.Thread(target=answer)
        thread.start()
        daemon = start_daemon(broker)
        if not any("mqtt:" in line for line in daemon.said):
            daemon.wait_for("mqtt:")
        thread.join()
        with Client(daemon.door) as client:
            assert client.classify(jpeg()).predictions


@pytest.fixture
def guarded(make_broker, tmp_path: Path):
    """A broker that wants a password of everybody."""
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "right"], check=True)
    return make_broker("allow_anonymous false", f"password_file {passwords}")


def secret(folder: Path, text: str) -> str:
    path = folder / "password"
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def test_a_password_comes_from_its_file(guarded, listen, start_daemon, tmp_path: Path) -> None:
    listener = listen(guarded, username="me", password="right")
    start_daemon(guarded, {"username": "me", "password_file": secret(tmp_path, "right\n")})
    listener.next("incv3d/pi/availability", b"online")


def test_or_from_the_environment_which_goes_over_it(guarded, listen, start_daemon, tmp_path: Path) -> None:
    listener = listen(guarded, username="me", password="right")
    mqtt = {"username": "me", "password_file": secret(tmp_path, "wrong")}
    start_daemon(guarded, mqtt, environ={"INCV3D_MQTT_PASSWORD": "right"})
    listener.next("incv3d/pi/availability", b"online")


def test_a_wrong_password_is_said_once_and_costs_nothing(guarded, start_daemon, tmp_path: Path) -> None:
    daemon = start_daemon(guarded, {"username": "me", "password_file": secret(tmp_path, "wrong")})
    if not any("does not let us in" in line for line in daemon.said):
        daemon.wait_for("does not let us in: Not authorized (mqtt.username, mqtt.password_file)")
    until(lambda: guarded.said.count("not authorised") >= 3, "it does not try again")
    with Client(daemon.door) as client:
        assert client.classify(jpeg()).predictions
    assert daemon.stop() == 0
    assert sum("mqtt:" in line for line in daemon.said) == 1, daemon.said


@pytest.mark.parametrize(
    ("mqtt", "words"),
    [
        (
            {"password_file": "/nowhere/password"},
            "mqtt.password_file: /nowhere/password: cannot be read: No such",
        ),
        ({"password_file": "EMPTY", "username": "me"}, "must hold one line, the password alone"),
        ({"password_file": "TWO", "username": "me"}, "must hold one line, the password alone"),
        ({"password_file": "ONE"}, "mqtt.username: there is a password, but nobody whose it is"),
        ({"tls": True, "ca_file": "ONE"}, "no certificate in PEM format"),
        ({"tls": True, "ca_file": "/nowhere/ca"}, "mqtt.ca_file: /nowhere/ca: cannot be read: No such"),
        ({"frames": "incv3d/#"}, "mqtt.frames: `incv3d/#` would take what daemons publish for frames"),
        ({"frames": "incv3d/+/event/+"}, "mqtt.frames: `incv3d/+/event/+` would take what daemons publish"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_no_start(state: Path, tmp_path: Path, mqtt, words) -> None:
    for name, text in (("EMPTY", ""), ("ONE", "x\n"), ("TWO", "x\ny\n")):
        (tmp_path / name).write_text(text)
    named = {
        key: str(tmp_path / value) if value in ("EMPTY", "ONE", "TWO") else value
        for key, value in mqtt.items()
    }
    config = tmp_path / "incv3d.yaml"
    config.write_text(json.dumps({"mqtt": {"host": "127.0.0.1", **named}}))
    done = run_incv3d(
        state, "run", "--config", str(config), "--bind", f"ipc://{tmp_path}/door", "--publish", ""
    )
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate authority, and a certificate of it for this machine as its broker."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    name = ("-subj", "/CN=test authority", "-days", "2", "-nodes")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-keyout", "ca.key", "-out", "ca.pem", *name)
    openssl(
        "req",
        "-newkey",
        "rsa:2048",
        "-keyout",
        "broker.key",
        "-out",
        "broker.csr",
        "-nodes",
        "-subj",
        "/CN=b",
    )
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "broker.csr", "-out", "broker.pem", *signed)
    return tmp_path / "ca.pem"


@pytest.fixture
def encrypted(make_broker, authority: Path):
    folder = authority.parent
    return make_broker(
        "allow_anonymous true",
        f"certfile {folder}/broker.pem",
        f"keyfile {folder}/broker.key",
        f"cafile {authority}",
    )


def test_a_broker_with_a_certificate_is_trusted(encrypted, authority, listen, start_daemon) -> None:
    listener = listen(encrypted, ca_file=str(authority))
    daemon = start_daemon(encrypted, {"tls": True, "ca_file": str(authority), "image": True}, source=CAMERA)
    listener.next("incv3d/pi/availability", b"online")
    listener.next("incv3d/pi/image/camera")
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")


def test_a_broker_whose_authority_is_unknown_is_not(encrypted, start_daemon) -> None:
    daemon = start_daemon(encrypted, {"tls": True})
    if not any("mqtt:" in line for line in daemon.said):
        daemon.wait_for("mqtt:")
    assert any(
        "its certificate is not trusted: " in line and "(mqtt.ca_file)" in line for line in daemon.said
    )


def test_two_daemons_of_one_name_are_found_out(broker, start_daemon) -> None:
    first = start_daemon(broker)
    ready_to_listen(first)
    start_daemon(broker)
    first.wait_for("is incv3d-pi there twice? (mqtt.name)")
