"""The section `clips`: videos of events, with the seconds before and after."""

from __future__ import annotations

from typing import Annotated

import msgspec

from incv3d.config.checks import FilePath
from incv3d.config.section import MIB, Section


class ClipsSection(Section, frozen=True, kw_only=True):
    """Whether clips are kept, how long they are, and how much memory and disk they may fill."""

    folder: FilePath = ""
    before_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 5.0
    after_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 5.0
    max_s: Annotated[float, msgspec.Meta(ge=1, le=600)] = 60.0
    ring_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 16 * MIB
    max_files: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 1024 * MIB
    min_free_bytes: Annotated[int, msgspec.Meta(ge=0)] = 512 * MIB

    def __post_init__(self) -> None:
        if self.max_s < self.before_s + self.after_s:
            raise ValueError(f"max_s: {self.max_s:g} is less than `before_s` and `after_s` together")
