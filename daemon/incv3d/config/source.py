"""The section `source`: what the daemon itself captures from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from incv3d.config.active import Active, check_active
from incv3d.config.address import Address
from incv3d.config.checks import ModelName, Name, check_model_name
from incv3d.config.events import EventsSection
from incv3d.config.regions import RegionSetting, boxes_of, check_regions, models_of
from incv3d.config.section import Section, default_of
from incv3d.config.source_types import TYPE_KEYS, RtspTransport, SourceType, check_place, facts_of, source_of
from incv3d.frames import Region, Transform

ControlValue = bool | int | float | str | list[float]
"""The value of a camera control: ``true``, a number, a word, or numbers such as ``[1.5, 2.1]``."""


class SourceSection(Section, frozen=True, kw_only=True):
    """The camera, stream or files from which the daemon itself captures."""

    type: SourceType = "none"
    name: Name = "camera"
    model: ModelName = ""
    path: Address = Address("")
    addresses: list[Address] = []
    camera: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    width: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 640
    height: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 480
    transform: Transform = "none"
    regions: dict[str, RegionSetting] = {}
    skip_unchanged: bool = False
    change_threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    unchanged_max_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    events: EventsSection | None = None
    controls: dict[str, ControlValue] = {}
    fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    loop: bool = True
    watch: bool = False
    every_frame: bool = False
    rtsp_transport: RtspTransport = "auto"
    interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    max_fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    active: Active = ""
    stall_timeout_s: Annotated[float, msgspec.Meta(ge=0.5, le=3600)] = 10.0

    def __post_init__(self) -> None:
        # A caller may pass an address as plain text.
        msgspec.structs.force_setattr(self, "path", Address(self.path))
        msgspec.structs.force_setattr(self, "addresses", [Address(each) for each in self.addresses])
        if self.path:
            kind, path = source_of(self.path)
            if self.type in ("auto", kind):
                msgspec.structs.force_setattr(self, "type", kind)
                msgspec.structs.force_setattr(self, "path", path)
        check_place(self.type, self.path, self.addresses)
        if self.name in ("zmq", "mqtt", "http"):
            raise ValueError(f"name: `{self.name}` is reserved for frames that clients send")
        check_model_name("model", self.model)
        check_active("active", self.active)
        check_regions("regions", self.regions)
        if len(self.addresses) > 1 and self.skip_unchanged:
            raise ValueError(
                "skip_unchanged: images of several senders cannot be compared; give a single address"
            )
        if self.events and self.events.zmq:
            raise ValueError("events.zmq: concerns frames that clients send; set it in the section `events`")
        if self.interval_s and self.max_fps:
            raise ValueError("max_fps: excludes `interval_s`; set one or the other")

    @property
    def named_regions(self) -> dict[str, Region]:
        """The regions, as frames carry them."""
        return boxes_of(self.regions)

    @property
    def result_names(self) -> list[str]:
        """The names under which its results are published: ``camera``, or ``camera.REGION`` ..."""
        return [f"{self.name}.{region}" for region in self.regions] or [self.name]

    @property
    def models(self) -> dict[str, str]:
        """The names of models by the source of the frames that they classify, ``camera.feeder``."""
        given = models_of(self.regions)
        own = {f"{self.name}.{region}": given.get(region, self.model) for region in self.regions}
        return {source: model for source, model in {self.name: self.model, **own}.items() if model}

    @property
    def capturing(self) -> dict[str, object]:
        """The keys without models, events and hours: two sources with equal ones capture the same frames."""
        others = {"model": "", "events": None, "active": ""}
        return msgspec.structs.asdict(self) | others | {"regions": self.named_regions}

    @property
    def frame_interval_s(self) -> float:
        """Seconds between two frames, from ``interval_s`` or ``max_fps``; 0: as they arrive."""
        return 1 / self.max_fps if self.max_fps else self.interval_s

    @property
    def is_watched(self) -> bool:
        """Whether the source delivers files as they appear: ``watch``, for a type that reads it."""
        return self.watch and "watch" not in self.ignored_keys

    @property
    def takes_every_frame(self) -> bool:
        """Whether no frame may be dropped for a newer one: ``every_frame``, or files that appear."""
        return self.every_frame or self.is_watched

    @property
    def chosen_fps(self) -> float:
        """``fps``, or the type's own default; 0.0: set by the device, the file or the sender."""
        if self.fps or self.type in ("none", "auto"):
            return self.fps
        return facts_of(self.type).default_fps

    @property
    def frame_timeout_s(self) -> float:
        """``stall_timeout_s``, but at least two frame intervals."""
        fps = self.chosen_fps
        return max(self.stall_timeout_s, 2 / fps) if fps else self.stall_timeout_s

    @property
    def ignored_keys(self) -> list[str]:
        """The keys that are not at their default and that this type does not read."""
        if self.type in ("none", "auto"):
            return []
        used = facts_of(self.type).keys
        fields = {field.name: field for field in msgspec.structs.fields(self)}
        return [key for key in TYPE_KEYS if key not in used and getattr(self, key) != default_of(fields[key])]


def check_names(sources: Sequence[SourceSection]) -> None:
    """Raise ValueError unless every source of the list has a type, and a name of its own."""
    seen: dict[str, int] = {}
    for number, each in enumerate(sources):
        place = f"sources[{number}]"
        if each.type == "none":
            raise ValueError(f"{place}.path: is missing; it names the camera, stream or files")
        if each.name in seen:
            raise ValueError(
                f"{place}.name: `{each.name}` is also the name of sources[{seen[each.name]}]; "
                "give each source a name of its own"
            )
        seen[each.name] = number
