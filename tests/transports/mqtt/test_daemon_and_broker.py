"""A daemon whose broker is away, wants a password, or is encrypted."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.client import Client
from mqtt_daemon import CAMERA, facts, ready_to_listen
from processes import run_incv3d
from waiting import until


def test_a_broker_that_is_away_is_said_once_and_costs_no_frame(broker, listen, start_daemon) -> None:
    daemon = start_daemon(broker, {"queue_limit": 5}, source=CAMERA)
    ready_to_listen(daemon)
    broker.stop()
    daemon.wait_for("the connection was lost; continuing without it")
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
    assert sum("continuing without it" in line for line in daemon.said) == 1, daemon.said


def test_a_broker_that_is_not_there_yet_is_waited_for(broker, listen, start_daemon) -> None:
    broker.stop()
    daemon = start_daemon(broker, source=CAMERA)
    if not any("mqtt:" in line for line in daemon.said):
        daemon.wait_for("mqtt:")
    assert any("connection refused; continuing without it" in line for line in daemon.said)
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
    if not any("does not accept the connection" in line for line in daemon.said):
        daemon.wait_for("does not accept the connection: Not authorized (mqtt.username, mqtt.password_file)")
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
        ({"password_file": "ONE"}, "mqtt.username: a password is set, but no user name"),
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
    first.wait_for("does another daemon connect as incv3d-pi? (mqtt.name)")
