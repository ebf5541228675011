"""Parse addresses of daemons as users type them: ``pi.local``, ``10.0.0.5:5555``,
``tcp://[fd00::5]:5555``."""

from __future__ import annotations

import re
import socket

from incv3d.client.handshake import AddressError, ClientError

REQUEST_PORT = 5555
RESULTS_PORT = 5556
TRANSPORTS = ("tcp://", "ipc://", "inproc://")
WITH_TRANSPORT = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
WORD = re.compile(r"[a-z0-9_-]+", re.IGNORECASE)
HOST = re.compile(r"\[[^\]\s]+\]|[^\s/@?#:;,\[\]]+")


def connect_address(typed: str, port: int) -> str:
    """Return the ZeroMQ address to connect to; ``tcp://`` and the port can be left out.

    :param port: the default port.
    :raises AddressError: the address is not valid.
    :raises ClientError: the host name is unknown.
    """
    text = typed.strip()
    examples = f"pi.local, 10.0.0.5:{port} or tcp://pi.local:{port}"
    if found := WITH_TRANSPORT.match(text):
        transport = found[0].lower()
        if transport not in TRANSPORTS:
            raise _invalid(typed, f"{transport[:-3]} is not supported; use tcp://HOST:{port}")
        if transport != "tcp://":
            return text
        text = text[found.end() :]
    if "@" in text:
        raise _invalid(typed, f"not an address such as {examples}, without a user name or password")
    if found and ";" in text:  # tcp://OWN:PORT;OTHER:PORT
        return found[0].lower() + text
    host, number = _host_and_port(text.rstrip("/"))
    if host == "*":
        raise _invalid(typed, "`*` is for servers; use the name of the daemon's machine")
    if not HOST.fullmatch(host) or (host.startswith("[") and not _is_numeric_ipv6(host[1:-1])):
        raise _invalid(typed, f"not an address such as {examples}")
    if number and not (number.isascii() and number.isdigit() and 0 < int(number) < 65_536):
        raise _invalid(typed, f"`{number}` is not a port")
    if not found and not number and WORD.fullmatch(host):
        _look_up(typed, host, port)
    return f"tcp://{host}:{number or port}"


def is_ipv6(address: str) -> bool:
    """Return whether it is a numeric IPv6 address, which ZeroMQ accepts only with its option ``IPV6``."""
    return address.startswith("tcp://[")


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest.removeprefix(":")
    if text.count(":") > 1:  # IPv6 without brackets cannot have a port
        return f"[{text}]", ""
    host, _, number = text.partition(":")
    return host, number


def _is_numeric_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, UnicodeError):
        return False
    return True


def _look_up(typed: str, host: str, port: int) -> None:
    """Raise ClientError unless the host name can be resolved: ZeroMQ would wait forever for a wrong name."""
    try:
        socket.getaddrinfo(host, port, socket.AF_INET)
    except (OSError, UnicodeError):
        unknown = f"the host name is unknown; valid are pi.local or tcp://10.0.0.5:{port}, for example"
        raise ClientError(_why_not(typed, unknown)) from None


def _invalid(typed: str, why: str) -> AddressError:
    return AddressError(_why_not(typed, why))


def _why_not(typed: str, why: str) -> str:
    from incv3d.config.address import Address  # only imported for an invalid address

    return f"{Address(typed) if typed.strip() else '(empty)'}: cannot connect: {Address(typed).hide(why)}"
