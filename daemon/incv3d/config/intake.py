"""The section `intake`: the ZeroMQ server."""

from __future__ import annotations

from typing import Annotated

import msgspec

from incv3d.config.checks import BindAddress, FilePath, check_address, is_local
from incv3d.config.section import MIB, Section

LARGEST_IMAGE = 89_000_000
"""Pixels; just below the size at which Pillow warns of decompression bombs."""


class IntakeSection(Section, frozen=True, kw_only=True):
    """The ZeroMQ server."""

    bind: BindAddress = "tcp://127.0.0.1:5555"
    publish: BindAddress = "tcp://127.0.0.1:5556"
    keys: FilePath = ""
    insecure: bool = False
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8
    peer_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 4
    queue_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 64 * MIB
    ttl_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_message_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1024 * MIB)] = 32 * MIB
    max_pixels: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_IMAGE)] = 50_000_000

    def __post_init__(self) -> None:
        check_address("bind", self.bind)
        if self.publish:
            check_address("publish", self.publish)
        if self.bind == self.publish:
            raise ValueError("publish: must differ from `bind`")
        if self.keys and self.insecure:
            raise ValueError("insecure: contradicts `keys`; remove one of them")

    @property
    def queue_limits(self) -> tuple[int, int, int]:
        """The limits of the queue: frames, bytes, and frames of one peer."""
        return self.queue_limit, self.queue_bytes, self.peer_limit

    @property
    def arriving_bytes(self) -> int:
        """The most bytes of waiting and arriving messages: two of the largest beyond ``queue_bytes``."""
        return self.queue_bytes + 2 * self.max_message_bytes

    @property
    def open_addresses(self) -> dict[str, str]:
        """The addresses that other machines can reach, by their keys ``bind`` and ``publish``."""
        addresses = {"bind": self.bind, "publish": self.publish}
        return {key: address for key, address in addresses.items() if address and not is_local(address)}
