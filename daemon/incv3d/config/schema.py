"""Every configuration key with its type, range and default.

``config/incv3d.yaml`` explains the same keys; a test compares the two.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from incv3d.config.address import Address
from incv3d.config.checks import (
    BindAddress,
    FilePath,
    ModelName,
    Name,
    Threshold,
    check_address,
    check_model_name,
    check_threshold,
    is_local,
)
from incv3d.config.network import HttpSection, MqttSection
from incv3d.config.preprocessing import PRESETS, Interpolation, PerChannel, PresetName, from_mean_and_std
from incv3d.config.regions import RegionSetting, boxes_of, check_regions, models_of
from incv3d.config.section import Section
from incv3d.config.source_types import TYPE_KEYS, RtspTransport, SourceType, check_place, facts_of, source_of
from incv3d.frames import Region, Transform

MIB = 1024 * 1024
Side = Annotated[int, msgspec.Meta(ge=0, le=8192)]
"""Pixels; 0: as stored in the network."""
ControlValue = bool | int | float | str | list[float]
"""The value of a camera control: ``true``, a number, a word, or numbers such as ``[1.5, 2.1]``."""
LARGEST_IMAGE = 89_000_000
"""Pixels; just below the size at which Pillow warns of decompression bombs."""


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


class ModelSection(Section, frozen=True, kw_only=True):
    """The model that classifies."""

    name: ModelName = "auto"
    store: FilePath = ""
    fetch_wait_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 600.0
    top_k: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5

    def __post_init__(self) -> None:
        check_model_name("name", self.name)


class CustomSection(Section, frozen=True, kw_only=True):
    """The user's own network; active if ``file`` is set."""

    file: FilePath = ""
    labels: FilePath = ""
    preset: PresetName = "none"
    input: str = ""
    output: str = ""
    signature: str = ""
    width: Side = 0
    height: Side = 0
    layout: Literal["auto", "nhwc", "nchw"] = "auto"
    pixel_range: tuple[float, float] | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["auto", "stretch", "crop"] = "auto"
    crop_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    resize_to: Side = 0
    interpolation: Literal["auto", Interpolation] = "auto"
    scores: Literal["auto", "probabilities", "logits"] = "auto"
    golden_picture: FilePath = ""
    golden_label: str = ""
    golden_score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    golden_tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02

    def __post_init__(self) -> None:
        if self.pixel_range and not all(map(math.isfinite, self.pixel_range)):
            raise ValueError("pixel_range: must be two finite numbers, the values for 0 and 255")
        if self.pixel_range and self.pixel_range[0] == self.pixel_range[1]:
            raise ValueError("pixel_range: must be two different numbers, the values for 0 and 255")
        for key, given in (("mean", self.mean), ("std", self.std)):
            if isinstance(given, tuple) and len(given) not in (1, 3):
                raise ValueError(f"{key}: must have one number, or one per channel, not {len(given)}")
            if given is not None and self.pixel_range:
                raise ValueError(f"{key}: excludes pixel_range; set one or the other")
        mean, std = self.mean_and_std
        if mean is not None or std is not None:
            from_mean_and_std(mean, std, "custom.mean and custom.std")
        if bool(self.golden_picture) != bool(self.golden_label):
            raise ValueError("golden_picture: golden_picture and golden_label must be set together")
        if bool(self.width) != bool(self.height):
            raise ValueError("width: width and height must be set together")
        if self.resize_to and (self.chosen_fit != "crop" or self.crop_fraction not in (None, 1.0)):
            raise ValueError("resize_to: requires `fit: crop`, and excludes crop_fraction")

    @property
    def mean_and_std(self) -> tuple[PerChannel | None, PerChannel | None]:
        """``mean`` and ``std``, or those of the preset, in the order of ``channel_order``; None: not set."""
        preset = PRESETS.get(self.preset)
        if preset is None or self.pixel_range:
            return self.mean, self.std
        mean, std = preset.mean_and_std(self.channel_order)
        return mean if self.mean is None else self.mean, std if self.std is None else self.std

    @property
    def chosen_fit(self) -> Literal["stretch", "crop"]:
        """``fit``, or that of the preset."""
        if self.fit == "auto":
            return "stretch" if self.preset == "none" else "crop"
        return self.fit


class SessionSection(Section, frozen=True, kw_only=True):
    """How the model is run."""

    engine: Literal["auto", "tensorflow", "litert", "onnx"] = "auto"
    preprocess: Literal["fast", "exact"] = "fast"
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    cache_filters: bool | Literal["auto"] = "auto"
    overlap_runs: bool = True
    warmup_runs: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10
    run_limit_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    tune: bool | Literal["auto"] = "auto"
    tune_over_s: Annotated[float, msgspec.Meta(ge=1, le=604_800)] = 3600.0


class SourceSection(Section, frozen=True, kw_only=True):
    """The camera, stream or files from which the daemon itself captures."""

    type: SourceType = "none"
    name: Name = "camera"
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
    controls: dict[str, ControlValue] = {}
    fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    loop: bool = True
    watch: bool = False
    every_frame: bool = False
    rtsp_transport: RtspTransport = "auto"
    interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    max_fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
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
        check_regions("regions", self.regions)
        if len(self.addresses) > 1 and self.skip_unchanged:
            raise ValueError(
                "skip_unchanged: images of several senders cannot be compared; give a single address"
            )
        if self.interval_s and self.max_fps:
            raise ValueError("max_fps: excludes `interval_s`; set one or the other")

    @property
    def named_regions(self) -> dict[str, Region]:
        """The regions, as frames carry them."""
        return boxes_of(self.regions)

    @property
    def region_models(self) -> dict[str, str]:
        """The names of the models of regions that name one."""
        return models_of(self.regions)

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
        return [key for key in TYPE_KEYS if key not in used and getattr(self, key) != _default(fields[key])]


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
    def arriving_bytes(self) -> int:
        """The most bytes of waiting and arriving messages: two of the largest beyond ``queue_bytes``."""
        return self.queue_bytes + 2 * self.max_message_bytes

    @property
    def open_addresses(self) -> dict[str, str]:
        """The addresses that other machines can reach, by their keys ``bind`` and ``publish``."""
        addresses = {"bind": self.bind, "publish": self.publish}
        return {key: address for key, address in addresses.items() if address and not is_local(address)}


class LatencySection(Section, frozen=True, kw_only=True):
    """The rolling latency statistics and their log."""

    log: FilePath = ""
    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=86_400)] = 10.0
    window_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    window_frames: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 1 * MIB
    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3


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
            if getattr(self, field.name) != _default(field)
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


class DaemonSection(Section, frozen=True, kw_only=True):
    """The process."""

    grace_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 10.0
    memory_limit_mb: Annotated[int, msgspec.Meta(ge=0)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration of one daemon; ``Config()`` is the built-in default."""

    model: ModelSection = ModelSection()
    custom: CustomSection = CustomSection()
    session: SessionSection = SessionSection()
    source: SourceSection = SourceSection()
    intake: IntakeSection = IntakeSection()
    events: EventsSection = EventsSection()
    saving: SavingSection = SavingSection()
    mqtt: MqttSection = MqttSection()
    latency: LatencySection = LatencySection()
    http: HttpSection = HttpSection()
    daemon: DaemonSection = DaemonSection()

    def __post_init__(self) -> None:
        if self.saving.folder and not self.events.enabled:
            raise ValueError("saving.folder: no label is watched; add some to `events`")
