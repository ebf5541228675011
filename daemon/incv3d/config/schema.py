"""Every key of the configuration, its type, its range and its default.

The file ``config/incv3d.yaml`` spells the same keys out for people; a test holds the two together.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from incv3d.address import Address
from incv3d.frames import Region, Transform
from incv3d.models.entry import Interpolation

MIB = 1024 * 1024
Side = Annotated[int, msgspec.Meta(ge=0, le=8192)]
"""Pixels; 0: as the network itself says."""
ControlValue = bool | int | float | str | list[float]
"""A camera's control: ``true``, a number, a word, or numbers such as ``[1.5, 2.1]``."""
RtspTransport = Literal["auto", "tcp", "udp"]
"""How a camera's RTSP server sends its pictures; ``auto``: TCP, or UDP where it refuses that."""
FPS_OF_IMAGES = 1.0
"""At which pictures are replayed unless ``source.fps`` says otherwise."""
MQTT_NAME = r"^[A-Za-z0-9_-]{0,64}$"
"""Of a daemon: a part of its topics and of its entities in Home Assistant."""
NAME = r"^[A-Za-z0-9_-]{1,64}$"
"""Of a source or a region: a part of the topic of its results."""
MOST_REGIONS = 32
"""Each has a frame waiting and a run to itself."""
ROUNDING = 1e-9
"""By which the sum of two fractions may exceed 1."""
Threshold = float | list[float]
"""From which score on a label counts as seen, or that and a lower one for a label that is there already.
Not a pair with its limits in the type: msgspec 0.22 mixes up the limits of such a union, and crashes."""
LARGEST_PICTURE = 89_000_000
"""Pixels; just under the size at which Pillow itself begins to warn of decompression bombs."""


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
        raise ValueError(f"{key}: `{name}` is no name for a region (letters, digits, - and _)")
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
            f"{key}: `{topic}` is no topic: words with a / between them, none that begins with $"
        )
    if not wildcards and any(each in topic for each in "+#"):
        raise ValueError(f"{key}: `{topic}` must not have + or # in it")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise ValueError(f"{key}: `{topic}`: + stands for a whole level, # for all that follow, at the end")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the configuration file. Unknown keys are errors: a typing mistake is never a default.

    A check in ``__post_init__`` raises ValueError with ``KEY: what is wrong``.
    """


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


class ModelSection(Section, frozen=True, kw_only=True):
    """Which network classifies."""

    name: str = "auto"
    store: str = ""
    fetch_wait_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 600.0
    top_k: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5


class CustomSection(Section, frozen=True, kw_only=True):
    """A network of one's own; in force when ``file`` is named."""

    file: str = ""
    labels: str = ""
    input: str = ""
    output: str = ""
    width: Side = 0
    height: Side = 0
    layout: Literal["auto", "nhwc", "nchw"] = "auto"
    pixel_range: tuple[float, float] | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["stretch", "crop"] = "stretch"
    crop_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    resize_to: Side = 0
    interpolation: Literal["auto", Interpolation] = "auto"
    scores: Literal["auto", "probabilities", "logits"] = "auto"
    golden_picture: str = ""
    golden_label: str = ""
    golden_score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    golden_tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02

    def __post_init__(self) -> None:
        if self.pixel_range and self.pixel_range[0] == self.pixel_range[1]:
            raise ValueError("pixel_range: needs two different numbers, what 0 and 255 become")
        if bool(self.golden_picture) != bool(self.golden_label):
            raise ValueError("golden_picture: a picture and its golden_label go together")
        if bool(self.width) != bool(self.height):
            raise ValueError("width: width and height go together")
        if self.resize_to and (self.fit, self.crop_fraction) != ("crop", 1.0):
            raise ValueError("resize_to: goes with `fit: crop`, and takes the place of crop_fraction")


class SessionSection(Section, frozen=True, kw_only=True):
    """How the network is run."""

    engine: Literal["auto", "tensorflow", "litert"] = "auto"
    preprocess: Literal["fast", "exact"] = "fast"
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    cache_filters: bool | Literal["auto"] = "auto"
    overlap_runs: bool = True
    warmup_runs: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10
    run_limit_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0


class SourceSection(Section, frozen=True, kw_only=True):
    """Where the daemon itself takes frames from, besides those that arrive over ZeroMQ."""

    type: Literal["none", "auto", "picamera2", "picamera", "v4l2", "video", "images", "imagezmq"] = "none"
    name: Annotated[str, msgspec.Meta(pattern=NAME)] = "camera"
    path: Address = Address("")
    addresses: list[Address] = []
    camera: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    width: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 640
    height: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 480
    transform: Transform = "none"
    regions: dict[str, list[float]] = {}
    skip_unchanged: bool = False
    change_threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    unchanged_max_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    controls: dict[str, ControlValue] = {}
    fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    loop: bool = True
    every_frame: bool = False
    rtsp_transport: RtspTransport = "auto"
    interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    max_fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    stall_timeout_s: Annotated[float, msgspec.Meta(ge=0.5, le=3600)] = 10.0

    def __post_init__(self) -> None:
        # A program may write plain text for an address.
        msgspec.structs.force_setattr(self, "path", Address(self.path))
        msgspec.structs.force_setattr(self, "addresses", [Address(each) for each in self.addresses])
        if mistake := self.path.mistake:
            raise ValueError(f"path: {self.path} is not an address that can be opened: {mistake}")
        if self.name in ("zmq", "mqtt", "http"):
            raise ValueError(f"name: `{self.name}` belongs to frames that others send")
        if self.type == "images" and not self.path:
            raise ValueError("path: type `images` needs a picture, a folder or a pattern")
        if self.type == "video" and not self.path:
            raise ValueError("path: type `video` needs a file, or an address such as rtsp://10.0.0.5/stream")
        if self.type == "imagezmq" and not self.addresses:
            raise ValueError("addresses: type `imagezmq` needs one or more such as tcp://10.0.0.5:5555")
        for address in self.addresses:
            check_address("addresses", address.reveal())
            check_sender("addresses", address)
        if len(self.regions) > MOST_REGIONS:
            raise ValueError(f"regions: {len(self.regions)} of them, at most {MOST_REGIONS} are possible")
        for name, numbers in self.regions.items():
            check_region("regions", name, numbers)
        if self.type == "imagezmq" and len(self.addresses) > 1 and self.skip_unchanged:
            raise ValueError(
                "skip_unchanged: pictures of several senders cannot be compared; name one address"
            )
        if self.interval_s and self.max_fps:
            raise ValueError("max_fps: `interval_s` is given too, and says the same; leave one of them out")

    @property
    def named_regions(self) -> dict[str, Region]:
        """``regions`` as a frame has them."""
        return {name: Region(*numbers) for name, numbers in self.regions.items()}

    @property
    def gap_s(self) -> float:
        """Seconds between two frames, as ``interval_s`` or ``max_fps`` says it; 0: as they come."""
        return 1 / self.max_fps if self.max_fps else self.interval_s

    @property
    def patience_s(self) -> float:
        """``stall_timeout_s``, or more for a source that is meant to give frames more seldom than that."""
        fps = self.fps or (FPS_OF_IMAGES if self.type == "images" else 0.0)
        return max(self.stall_timeout_s, 2 / fps) if fps else self.stall_timeout_s


class IntakeSection(Section, frozen=True, kw_only=True):
    """The ZeroMQ door."""

    bind: str = "tcp://127.0.0.1:5555"
    publish: str = "tcp://127.0.0.1:5556"
    keys: str = ""
    insecure: bool = False
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8
    peer_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 4
    queue_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 64 * MIB
    ttl_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_message_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1024 * MIB)] = 32 * MIB
    max_pixels: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PICTURE)] = 50_000_000

    def __post_init__(self) -> None:
        check_address("bind", self.bind)
        if self.publish:
            check_address("publish", self.publish)
        if self.bind == self.publish:
            raise ValueError("publish: must not be the same address as `bind`")
        if self.keys and self.insecure:
            raise ValueError("insecure: `keys` is given too, and says the opposite; leave one of them out")

    @property
    def open_addresses(self) -> dict[str, str]:
        """The addresses that other machines can reach, by their keys ``bind`` and ``publish``."""
        addresses = {"bind": self.bind, "publish": self.publish}
        return {key: address for key, address in addresses.items() if address and not is_local(address)}


class MqttSection(Section, frozen=True, kw_only=True):
    """A broker for results, and for frames that a fleet shares; in force with a ``host``."""

    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    prefix: str = "incv3d"
    name: Annotated[str, msgspec.Meta(pattern=MQTT_NAME)] = ""
    discovery: str = "homeassistant"
    image: bool = False
    interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 1.0
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    frames: str = ""
    group: Annotated[str, msgspec.Meta(pattern=NAME)] = "incv3d"
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


class LatencySection(Section, frozen=True, kw_only=True):
    """The rolling latency and its log file."""

    log: str = ""
    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=86_400)] = 10.0
    window_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    window_frames: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 1 * MIB
    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3


class EventsSection(Section, frozen=True, kw_only=True):
    """Which labels make events, and when they enter and leave; in force when any is named."""

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
            raise ValueError(f"needed: {self.needed} of the last {self.frames} frames (`frames`) is never")
        for name, patterns in self.groups.items():
            if not patterns:
                raise ValueError(f"groups: `{name}` has no labels in it")
        check_threshold("threshold", self.threshold)
        for pattern, threshold in self.labels.items():
            check_threshold("labels", threshold, f"`{pattern}`: ")
        given = [
            field.name
            for field in msgspec.structs.fields(self)
            if getattr(self, field.name) != _default(field)
        ]
        if given and not self.enabled:
            raise ValueError(
                f'{given[0]}: no label is watched; name some in `allow` (["*"]: all), `groups` or `labels`'
            )

    @property
    def enabled(self) -> bool:
        """Whether any label is watched."""
        return bool(self.allow or self.groups or self.labels)


class SavingSection(Section, frozen=True, kw_only=True):
    """Which frames with watched labels are kept as pictures, and how much of the disk they may fill."""

    folder: str = ""
    when: Literal["entered", "match"] = "entered"
    min_interval_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 1.0
    max_files: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 512 * MIB
    min_free_bytes: Annotated[int, msgspec.Meta(ge=0)] = 512 * MIB


class HttpSection(Section, frozen=True, kw_only=True):
    """What is served over HTTP: the page, pictures to classify, health and metrics."""

    bind: str = ""
    token_file: str = ""
    page: bool = True

    def __post_init__(self) -> None:
        if self.bind:
            host, _ = split_http_address("bind", self.bind)
            if not is_loopback(host) and not self.token_file:
                raise ValueError("token_file: must be given, because other machines can reach `bind`")


class DaemonSection(Section, frozen=True, kw_only=True):
    """The process itself."""

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
            raise ValueError("saving.folder: no label is watched; name some in `events`")
