"""Broker address, credentials and TLS, and descriptions of connection errors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from incv3d.config.network import MqttSection
from incv3d.protocol.secret_file import advice_if_denied, read_secret
from incv3d.transports.errors import SettingError

PASSWORD = "INCV3D_MQTT_PASSWORD"
"""The environment variable with the password, used instead of the file."""
LONGEST_PASSWORD = 65_535
LARGEST_PASSWORD_FILE = LONGEST_PASSWORD + 3
"""The password and the end of its line, and one byte more to see that it is too long."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's address, and the credentials for it."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """Return the address as people write it."""
        return f"{self.host}:{self.port}"


def broker_of(section: MqttSection, environ: Mapping[str, str]) -> Broker:
    """Return the configured broker.

    :raises SettingError: a file that the configuration names cannot be used.
    """
    password = environ.get(PASSWORD, "") or _password(section)
    if password and not section.username:
        raise SettingError("mqtt.username: a password is set, but no user name")
    tls = tls_context(section.ca_file, "mqtt.ca_file") if section.tls else None
    return Broker(section.host, section.port_in_force, section.username, password, tls)


def tls_context(ca_file: str, key: str) -> ssl.SSLContext:
    """Return the settings that check a broker's certificate.

    :param ca_file: the certificates to trust; empty: those that this machine trusts.
    :param key: the key or option that names the file, for messages.
    :raises SettingError: the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise SettingError(f"{key}: {ca_file}: no certificate in PEM format") from None
    except OSError as error:
        raise SettingError(f"{key}: {ca_file}: cannot be read: {error.strerror}") from None


def disable_nagle(client: object, data: object, connection: object) -> None:
    """Let TCP send small packets at once; the library calls this with every new socket."""
    assert isinstance(connection, socket.socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def describe_error(error: OSError) -> str:
    """Return why a connection failed, and the keys to check."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (mqtt.ca_file)"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason} (mqtt.tls, mqtt.port)"
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
        raise SettingError(
            f"mqtt.password_file: {path}: cannot be read: {error.strerror}: {advice}"
        ) from None
    except OSError as error:
        raise SettingError(f"mqtt.password_file: {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingError(f"mqtt.password_file: {path}: not UTF-8 text") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or "\n" in password or len(password.encode()) > LONGEST_PASSWORD:
        raise SettingError(f"mqtt.password_file: {path}: must hold one line, the password alone")
    return password
