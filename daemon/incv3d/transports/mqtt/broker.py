"""Which broker, as whom, and what can be told of why it cannot be reached."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from incv3d.config.network import MqttSection
from incv3d.protocol.secret_file import advice_if_denied, read_secret
from incv3d.transports.mqtt.errors import MqttError

PASSWORD = "INCV3D_MQTT_PASSWORD"
"""The variable that goes over the file."""
LONGEST_PASSWORD = 65_535
LARGEST_PASSWORD_FILE = LONGEST_PASSWORD + 3
"""With the end of its line; one byte more is enough to know that it is too long."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is, and what it wants to see before it lets somebody in."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"


def broker_of(section: MqttSection, environ: Mapping[str, str]) -> Broker:
    """The broker that is configured.

    :raises MqttError: a file that it names cannot be used.
    """
    password = environ.get(PASSWORD, "") or _password(section)
    if password and not section.username:
        raise MqttError("mqtt.username: there is a password, but nobody whose it is")
    tls = tls_context(section.ca_file, "mqtt.ca_file") if section.tls else None
    return Broker(section.host, section.port_in_force, section.username, password, tls)


def tls_context(ca_file: str, key: str) -> ssl.SSLContext:
    """What a broker's certificate is checked with.

    :param ca_file: empty: what this machine trusts.
    :param key: what to call it in a message.
    :raises MqttError: it is not there, or no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise MqttError(f"{key}: {ca_file}: no certificate in PEM format") from None
    except OSError as error:
        raise MqttError(f"{key}: {ca_file}: cannot be read: {error.strerror}") from None


def send_at_once(client: object, data: object, connection: object) -> None:
    """Have TCP send small packets without waiting for the acknowledgement of others; a library's callback."""
    assert isinstance(connection, socket.socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reason_of(error: OSError) -> str:
    """Why a connection did not come about, with what to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (mqtt.ca_file)"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS as it should: {error.reason} (mqtt.tls, mqtt.port)"
    if isinstance(error, socket.gaierror):
        return "there is no machine of this name (mqtt.host)"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return (error.strerror or str(error)).lower()


def _password(section: MqttSection) -> str:
    if not section.password_file:
        return ""
    path = Path(section.password_file)
    try:
        text = read_secret(path, "mqtt.password_file", LARGEST_PASSWORD_FILE).decode("utf-8")
    except PermissionError as error:
        advice = advice_if_denied(path)
        raise MqttError(f"mqtt.password_file: {path}: cannot be read: {error.strerror}: {advice}") from None
    except OSError as error:
        raise MqttError(f"mqtt.password_file: {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MqttError(f"mqtt.password_file: {path}: not UTF-8 text") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or "\n" in password or len(password.encode()) > LONGEST_PASSWORD:
        raise MqttError(f"mqtt.password_file: {path}: must hold one line, the password alone")
    return password
