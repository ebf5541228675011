"""The sections `events` and `saving`: labels that are watched, and images of them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from incv3d.config.address import Address
from incv3d.config.checks import FilePath, Threshold, check_threshold
from incv3d.config.section import MIB, Section, default_of


class EventsSection(Section, frozen=True, kw_only=True):
    """Which labels are watched, and when they enter and leave; active if any is set."""

    allow: list[str] = []
    deny: list[str] = []
    groups: dict[str, list[str]] = {}
    labels: dict[str, Threshold] = {}
    threshold: Threshold = 0.5
    frames: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 5
    needed: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 3
    silence_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 120.0
    zmq: bool = False

    def __post_init__(self) -> None:
        if self.needed > self.frames:
            raise ValueError(
                f"needed: {self.needed} exceeds `frames` ({self.frames}); no label could ever enter"
            )
        for name, patterns in self.groups.items():
            if not patterns:
                raise ValueError(f"groups: `{Address(name)}` contains no labels")
        check_threshold("threshold", self.threshold)
        for pattern, threshold in self.labels.items():
            check_threshold("labels", threshold, f"`{Address(pattern)}`: ")
        given = [
            field.name
            for field in msgspec.structs.fields(self)
            if getattr(self, field.name) != default_of(field)
        ]
        if given and not self.enabled:
            raise ValueError(
                f'{given[0]}: no label is watched; add some to `allow` (["*"]: all), `groups` or `labels`'
            )

    @property
    def enabled(self) -> bool:
        """Whether any label is watched."""
        return bool(self.allow or self.groups or self.labels)


class SavingSection(Section, frozen=True, kw_only=True):
    """Which frames with watched labels are saved as images, and how much of the disk they may fill."""

    folder: FilePath = ""
    when: Literal["entered", "match"] = "entered"
    min_interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 1.0
    max_files: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 512 * MIB
    min_free_bytes: Annotated[int, msgspec.Meta(ge=0)] = 512 * MIB
