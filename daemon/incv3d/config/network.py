"""The sections ``http`` and ``mqtt``."""

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
    """An MQTT broker for results and for frames that several daemons share; active if ``host`` is set."""

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
            raise ValueError(
                f"host: `{Address(self.host)}` must be a host name or an IP address alone, such as 10.0.0.5"
            )
        check_topic("prefix", self.prefix)
        if self.discovery:
            check_topic("discovery", self.discovery)
        if self.frames:
            check_topic("frames", self.frames, wildcards=True)
        if self.ca_file and not self.tls:
            raise ValueError("ca_file: requires `tls: true`")

    @property
    def port_in_force(self) -> int:
        """``port``, or the standard port."""
        return self.port or (8883 if self.tls else 1883)


class HttpSection(Section, frozen=True, kw_only=True):
    """The HTTP server: web page, image classification, health and metrics."""

    bind: HttpAddress = ""
    token_file: FilePath = ""
    page: bool = True

    def __post_init__(self) -> None:
        if self.bind:
            host, _ = split_http_address("bind", self.bind)
            if not is_loopback(host) and not self.token_file:
                raise ValueError("token_file: required, because other machines can reach `bind`")
