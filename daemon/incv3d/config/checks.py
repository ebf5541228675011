"""Checks of single values of the configuration that their type cannot express."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from incv3d.config.address import Address

NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""The name of a source or a region, which becomes part of the topic of its results."""
NO_URL = r"^(?!\w+://|\w+:.*@)"
"""Matches a path, but no URL, which may contain a password."""
FilePath = Annotated[
    str, msgspec.Meta(pattern=NO_URL, description="the path of a file or a folder of this machine")
]
"""``~`` is the home folder; a relative path in a configuration file starts at the folder of that file."""
ModelName = Annotated[
    str, msgspec.Meta(pattern=NO_URL, description="the name of a model, such as inception-v3")
]
Name = Annotated[str, msgspec.Meta(pattern=NAME, description="1 to 64 letters, digits, - and _")]
"""The name of a source or a region, which becomes part of the topic of its results."""
NameOrEmpty = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$", description="up to 64 letters, digits, - and _")
]
"""The name of a daemon, which becomes part of its topics and of its entities in Home Assistant."""
BindAddress = Annotated[str, msgspec.Meta(description="an address, such as tcp://127.0.0.1:5555")]
HttpAddress = Annotated[str, msgspec.Meta(description="an address, such as 127.0.0.1:8080")]
NETWORK_FILES = (".tflite", ".pb", ".keras", ".h5", ".hdf5", ".onnx", ".pt", ".pth", ".tar", ".tgz", ".zip")
Threshold = float | list[float]
"""The score at which a label counts as seen, or that and a lower score for a label that has entered.
The limits are not part of the type, because msgspec 0.22 confuses the limits of such a union and crashes."""


def is_file_path(text: str) -> bool:
    """Return whether `text` is neither empty nor a URL."""
    return bool(text) and re.match(NO_URL, text) is not None


def check_model_name(key: str, name: str) -> None:
    """Raise ValueError if `name` is a file name instead of the name of a model."""
    if "/" in name or name.lower().endswith(NETWORK_FILES):
        raise ValueError(
            f"{key}: `{name}` is a file; write it under `custom:` as `file: {name}`, with its `labels`; "
            f"`{key}` only names the model"
        )


def check_address(key: str, address: str) -> None:
    """Raise ValueError unless `address` is one that ZeroMQ can bind to over TCP or IPC."""
    if address.startswith("ipc://") and len(address) > len("ipc://"):
        return
    try:
        parts = urlsplit(address)
        usable = parts.scheme == "tcp" and parts.hostname and parts.port and not parts.path
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"{key}: `{Address(address)}` must have the form tcp://127.0.0.1:5555 or ipc:///run/incv3d.sock"
        )


def check_sender(key: str, address: Address) -> None:
    """Raise ValueError if `address` is a wildcard such as 0.0.0.0, which identifies no sender."""
    parts = urlsplit(address.reveal())
    host = parts.hostname or ""
    try:
        is_any = ip_address(host).is_unspecified
    except ValueError:
        is_any = host == "*"
    if is_any:
        said = f"`{address}` is an address to listen on; write the sender's host, as in tcp://10.0.0.5:{parts.port}"
        raise ValueError(f"{key}: {said}")


def is_local(address: str) -> bool:
    """Return whether only processes of this machine can reach a socket bound to `address`."""
    if address.startswith("ipc://"):
        return True
    host = urlsplit(address).hostname or ""
    return host == "lo" or is_loopback(host)  # ZeroMQ also takes the name of a network interface


def is_loopback(host: str) -> bool:
    """Return whether only processes of this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # any other name may resolve to another address later


def check_threshold(key: str, threshold: Threshold, whose: str = "") -> None:
    """Raise ValueError unless `threshold` is a score, or an enter score and a lower leave score."""
    scores = threshold if isinstance(threshold, list) else [threshold]
    if len(scores) not in (1, 2):
        raise ValueError(f"{key}: {whose}must be one score, or two: [enter, leave]")
    for score in scores:
        if not 0 < score <= 1:
            raise ValueError(f"{key}: {whose}a score must be more than 0 and at most 1, not {score:g}")
    if scores[-1] > scores[0]:
        raise ValueError(f"{key}: {whose}the leave score {scores[1]:g} exceeds the enter score {scores[0]:g}")


def split_http_address(key: str, address: str) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:8080`` or ``[::]:8080``; port 0 means any free port.

    :raises ValueError: it does not have this form.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
        whole = parts.netloc == address and not parts.username
    except ValueError:
        host, port, whole = None, None, False
    if not host or port is None or not whole:
        raise ValueError(
            f"{key}: `{Address(address)}` must have the form 127.0.0.1:8080, or 0.0.0.0:8080 for all networks"
        )
    return host, port


def check_topic(key: str, topic: str, wildcards: bool = False) -> None:
    """Raise ValueError unless `topic` is a valid MQTT topic, or with `wildcards` a topic filter."""
    levels = topic.split("/")
    if not all(levels) or "\0" in topic or levels[0].startswith("$"):
        raise ValueError(
            f"{key}: `{Address(topic)}` is not a valid topic: words separated by /, not beginning with $"
        )
    if not wildcards and any(each in topic for each in "+#"):
        raise ValueError(f"{key}: `{Address(topic)}` must not contain + or #")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise ValueError(f"{key}: `{Address(topic)}`: + must be a whole level, and # must be the last level")
