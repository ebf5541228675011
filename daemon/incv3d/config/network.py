"""The sections about what the daemon serves over HTTP and over MQTT."""

from __future__ import annotations

from typing import Annotated

import msgspec

from incv3d.config.address import Address
from incv3d.config.checks import (
    FilePath,
    HttpAddress,
    Name,
    NameOrEmpty,
    check_topic,
    is_loopback,
    split_http_address,
)
from incv3d.config.section import Section


class MqttSection(Section, frozen=True, kw_only=True):
    """A broker for results, and for frames that a fleet shares; in force with a ``host``."""

    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    username: str = ""
    password_file: FilePath = ""
    tls: bool = False
    ca_file: FilePath = ""
    prefix: str = "incv3d"
    name: NameOrEmpty = ""
    discovery: str = "homeassistant"
    image: bool = False
    interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 1.0
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    frames: str = ""
    group: Name = "incv3d"
    receive_maximum: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 2

    def __post_init__(self) -> None:
        if "/" in self.host or self.host.count(":") == 1:
            raise ValueError(f"host: `{Address(self.host)}` is not a name or an address alone, as 10.0.0.5")
        check_topic("prefix", self.prefix)
        if self.discovery:
            check_topic("discovery", self.discovery)
        if self.frames:
            check_topic("frames", self.frames, wildcards=True)
        if self.ca_file and not self.tls:
            raise ValueError("ca_file: only of use with `tls: true`")

    @property
    def port_in_force(self) -> int:
        """``port``, or the usual one."""
        return self.port or (8883 if self.tls else 1883)


class HttpSection(Section, frozen=True, kw_only=True):
    """What is served over HTTP: the page, pictures to classify, health and metrics."""

    bind: HttpAddress = ""
    token_file: FilePath = ""
    page: bool = True

    def __post_init__(self) -> None:
        if self.bind:
            host, _ = split_http_address("bind", self.bind)
            if not is_loopback(host) and not self.token_file:
                raise ValueError("token_file: must be given, because other machines can reach `bind`")
