"""Checks of single values of the configuration that their type cannot express."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from incv3d.config.address import Address

NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""Of a source or a region: a part of the topic of its results."""
NO_URL = r"^(?!\w+://|\w+:.*@)"
"""Of a path: what would be an address, and may hold a password."""
FilePath = Annotated[
    str, msgspec.Meta(pattern=NO_URL, description="the path of a file or a folder of this machine")
]
"""Read with ``~`` as the home folder, and, in a configuration file, from the folder of that file on."""
ModelName = Annotated[
    str, msgspec.Meta(pattern=NO_URL, description="the name of a model, as `incv3d model list` shows it")
]
Name = Annotated[str, msgspec.Meta(pattern=NAME, description="1 to 64 letters, digits, - and _")]
"""Of a source or a region: a part of the topic of its results."""
NameOrEmpty = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$", description="up to 64 letters, digits, - and _")
]
"""Of a daemon: a part of its topics and of its entities in Home Assistant."""
DoorAddress = Annotated[str, msgspec.Meta(description="an address, as tcp://127.0.0.1:5555")]
HttpAddress = Annotated[str, msgspec.Meta(description="an address, as 127.0.0.1:8080")]
NETWORK_FILES = (".tflite", ".pb", ".keras", ".h5", ".hdf5", ".onnx", ".pt", ".pth", ".tar", ".tgz", ".zip")
ROUNDING = 1e-9
"""By which the sum of two fractions may exceed 1."""
Threshold = float | list[float]
"""From which score on a label counts as seen, or that and a lower one for a label that is there already.
Not a pair with its limits in the type: msgspec 0.22 mixes up the limits of such a union, and crashes."""


def is_file_path(text: str) -> bool:
    """Whether `text` is not empty, and no address."""
    return bool(text) and re.match(NO_URL, text) is not None


def check_model_name(key: str, name: str) -> None:
    """Raise ValueError if `name` is that of a file instead of a model's."""
    if "/" in name or name.lower().endswith(NETWORK_FILES):
        raise ValueError(
            f"{key}: `{name}` is a file: it belongs under `custom:`, as `file: {name}`, with its `labels`; "
            f"`{key}` is only what to call it"
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
            f"{key}: `{Address(address)}` is not like tcp://127.0.0.1:5555 or ipc:///run/incv3d.sock"
        )


def check_sender(key: str, address: Address) -> None:
    """Raise ValueError if `address` stands for every address of a machine: no sender can be reached there."""
    parts = urlsplit(address.reveal())
    host = parts.hostname or ""
    try:
        is_any = ip_address(host).is_unspecified
    except ValueError:
        is_any = host == "*"
    if is_any:
        said = (
            f"`{address}` is where a program listens; name the sender's host, as tcp://10.0.0.5:{parts.port}"
        )
        raise ValueError(f"{key}: {said}")


def is_local(address: str) -> bool:
    """Whether only this machine's own processes can reach a socket that is bound to `address`."""
    if address.startswith("ipc://"):
        return True
    host = urlsplit(address).hostname or ""
    return host == "lo" or is_loopback(host)  # it can be a network interface's name, too


def is_loopback(host: str) -> bool:
    """Whether only this machine's own processes can reach what listens at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # what any other name stands for can change


def check_region(key: str, name: str, numbers: list[float]) -> None:
    """Raise ValueError unless `numbers` are a region, with the key of the one that is not."""
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{key}: `{Address(name)}` is no name for a region (letters, digits, - and _)")
    key = f"{key}.{name}"
    if len(numbers) != 4:
        raise ValueError(f"{key}: needs four numbers, [x, y, width, height]; these are {len(numbers)}")
    for number in numbers:
        if not 0 <= number <= 1:
            raise ValueError(f"{key}: {number:g} is no fraction of the picture, 0 to 1")
    x, y, width, height = numbers
    if not (width and height):
        raise ValueError(f"{key}: its width and height must not be 0")
    for what, end in (("x + width", x + width), ("y + height", y + height)):
        if end > 1 + ROUNDING:
            raise ValueError(f"{key}: {what} is {end:g}, beyond the edge of the picture, 1")


def check_threshold(key: str, threshold: Threshold, whose: str = "") -> None:
    """Raise ValueError unless a label can both enter and leave by `threshold`."""
    scores = threshold if isinstance(threshold, list) else [threshold]
    if len(scores) not in (1, 2):
        raise ValueError(f"{key}: {whose}expected one score, or two: [enter, leave]")
    for score in scores:
        if not 0 < score <= 1:
            raise ValueError(f"{key}: {whose}{score:g} is no score: more than 0, at most 1")
    if scores[-1] > scores[0]:
        raise ValueError(
            f"{key}: {whose}it would leave below {scores[1]:g}, which is above {scores[0]:g}, where it enters"
        )


def split_http_address(key: str, address: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:8080`` or ``[::]:8080``; port 0 is any that is free.

    :raises ValueError: it is not like that.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
        whole = parts.netloc == address and not parts.username
    except ValueError:
        host, port, whole = None, None, False
    if not host or port is None or not whole:
        raise ValueError(
            f"{key}: `{Address(address)}` is not like 127.0.0.1:8080, or 0.0.0.0:8080 for every network"
        )
    return host, port


def check_topic(key: str, topic: str, wildcards: bool = False) -> None:
    """Raise ValueError unless `topic` is one of MQTT, or a filter where `wildcards` may stand in it."""
    levels = topic.split("/")
    if not all(levels) or "\0" in topic or levels[0].startswith("$"):
        raise ValueError(
            f"{key}: `{Address(topic)}` is no topic: words with a / between them, none that begins with $"
        )
    if not wildcards and any(each in topic for each in "+#"):
        raise ValueError(f"{key}: `{Address(topic)}` must not have + or # in it")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise ValueError(
            f"{key}: `{Address(topic)}`: + stands for a whole level, # for all that follow, at the end"
        )
