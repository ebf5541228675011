"""Which broker is meant, as whom, and what is said of one that cannot be reached."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

from incv3d.config.network import MqttSection
from incv3d.transports.errors import SettingError
from incv3d.transports.mqtt.broker import Broker, broker_of, describe_error, disable_nagle, tls_context


def section(path: Path | None = None, **more: object) -> MqttSection:
    file = {"password_file": str(path)} if path else {}
    return MqttSection(**{"host": "pi.local", "username": "shed", **file, **more})  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("hush\n")
    path.chmod(0o600)
    return path


def test_a_broker_is_where_the_configuration_says_and_on_the_usual_port() -> None:
    found = broker_of(section(username=""), {})
    assert found == Broker("pi.local", 1883) and found.address == "pi.local:1883"
    assert broker_of(section(port=1884), {}).address == "pi.local:1884"
    assert broker_of(section(tls=True), {}).address == "pi.local:8883"


def test_the_password_is_in_its_file_or_in_the_environment_which_goes_first(file: Path) -> None:
    assert broker_of(section(file), {}).password == "hush"
    assert broker_of(section(file), {"INCV3D_MQTT_PASSWORD": "other"}).password == "other"
    assert broker_of(section(file), {"INCV3D_MQTT_PASSWORD": ""}).password == "hush"
    assert broker_of(section(), {"INCV3D_MQTT_PASSWORD": "other"}).password == "other"
    assert broker_of(section(), {}).password == ""
    assert "hush" not in repr(broker_of(section(file), {}))


def test_a_password_of_nobody_is_refused() -> None:
    with pytest.raises(SettingError, match=r"mqtt\.username: a password is set, but no user name"):
        broker_of(section(username=""), {"INCV3D_MQTT_PASSWORD": "other"})


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hush", "hush"),
        (b"hush\r\n", "hush"),
        (b" two words ", " two words "),
        ("grüß".encode(), "grüß"),
        (b"x" * 65_535, "x" * 65_535),
        (b"x" * 65_535 + b"\r\n", "x" * 65_535),
    ],
)
def test_a_password_is_one_line_as_it_stands(file: Path, content: bytes, password: str) -> None:
    file.write_bytes(content)
    assert broker_of(section(file), {}).password == password


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"hush\n\n", b"x" * 65_536, b"x" * 100_000])
def test_what_is_no_password_is_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        broker_of(section(file), {})
    assert str(caught.value) == f"mqtt.password_file: {file}: must hold one line, the password alone"


def test_a_password_that_is_no_text_or_not_there_is_one_line(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match=r"mqtt\.password_file: .*/password: not UTF-8 text"):
        broker_of(section(file), {})
    file.unlink()
    with pytest.raises(SettingError, match=r"mqtt\.password_file: .*/password: cannot be read: No such file"):
        broker_of(section(file), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_password_that_this_user_may_not_read_comes_with_the_command_that_mends_it() -> None:
    assert grp and pwd, "loaded now: the other user may not read this Python"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "password"
        path.write_text("hush")
        path.chmod(0o600)
        Path(folder).chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(SettingError) as caught:
                broker_of(section(path), {})
        finally:
            os.seteuid(0)
    said = f"mqtt.password_file: {path}: cannot be read: Permission denied: sudo chown"
    assert str(caught.value).startswith(said)


def test_a_broker_with_tls_must_show_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    assert broker_of(section(), {}).tls is None
    tls = broker_of(section(tls=True), {}).tls
    assert tls and tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname


def test_an_authority_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(SettingError) as caught:
        broker_of(section(tls=True, ca_file=str(path)), {})
    assert str(caught.value) == f"mqtt.ca_file: {path}: cannot be read: No such file or directory"
    path.write_text("nothing")
    with pytest.raises(SettingError) as caught:
        tls_context(str(path), "--ca")
    assert str(caught.value) == f"--ca: {path}: no certificate in PEM format"


def test_small_packets_leave_at_once() -> None:
    with socket.socket() as connection:
        assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        disable_nagle(None, None, connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def misspoken() -> ssl.SSLError:
    error = ssl.SSLError(1, "wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (untrusted(), "its certificate is not trusted: self-signed certificate (mqtt.ca_file)"),
        (misspoken(), "TLS failed: WRONG_VERSION_NUMBER (mqtt.tls, mqtt.port)"),
        (socket.gaierror(-2, "Name or service not known"), "there is no machine of this name (mqtt.host)"),
        (TimeoutError("timed out"), "it does not answer"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (OSError("Something else"), "something else"),
    ],
)
def test_why_a_broker_cannot_be_reached_is_said_with_what_to_look_at(error: OSError, said: str) -> None:
    assert describe_error(error) == said
