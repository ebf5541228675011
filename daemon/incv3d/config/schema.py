"""Every configuration key with its type, range and default: the sections, and the whole.

``config/incv3d.yaml`` explains the same keys; a test compares the two.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from incv3d.config.active import SUN, Place, check_place
from incv3d.config.checks import FilePath, ModelName, check_model_name
from incv3d.config.clips import ClipsSection
from incv3d.config.custom import CustomSection
from incv3d.config.events import EventsSection, SavingSection
from incv3d.config.gpio import GpioSection
from incv3d.config.history import HistorySection
from incv3d.config.intake import IntakeSection
from incv3d.config.network import HttpSection, MqttSection
from incv3d.config.notify import NotifySection
from incv3d.config.section import MIB, Section
from incv3d.config.source import SourceSection, check_names


class ModelSection(Section, frozen=True, kw_only=True):
    """The model that classifies."""

    name: ModelName = "auto"
    store: FilePath = ""
    fetch_wait_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 600.0
    top_k: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5

    def __post_init__(self) -> None:
        check_model_name("name", self.name)


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


class LatencySection(Section, frozen=True, kw_only=True):
    """The rolling latency statistics and their log."""

    log: FilePath = ""
    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=86_400)] = 10.0
    window_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    window_frames: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 1 * MIB
    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3


class DaemonSection(Section, frozen=True, kw_only=True):
    """The process."""

    grace_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 10.0
    place: Place = []
    memory_limit_mb: Annotated[int, msgspec.Meta(ge=0)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        check_place("place", self.place)


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration of one daemon; ``Config()`` is the built-in default."""

    model: ModelSection = ModelSection()
    custom: CustomSection = CustomSection()
    session: SessionSection = SessionSection()
    source: SourceSection = SourceSection()
    sources: list[SourceSection] = []
    intake: IntakeSection = IntakeSection()
    events: EventsSection = EventsSection()
    saving: SavingSection = SavingSection()
    clips: ClipsSection = ClipsSection()
    history: HistorySection = HistorySection()
    gpio: GpioSection = GpioSection()
    notify: NotifySection = NotifySection()
    mqtt: MqttSection = MqttSection()
    latency: LatencySection = LatencySection()
    http: HttpSection = HttpSection()
    daemon: DaemonSection = DaemonSection()

    def __post_init__(self) -> None:
        if self.sources and self.source != SourceSection():
            raise ValueError("sources: excludes `source`; move its keys into the list")
        check_names(self.sources)
        for place, each in self.all_sources.items():
            if each.active in SUN and not self.daemon.place:
                raise ValueError(
                    f"{place}.active: `{each.active}` needs the place of the camera; "
                    "set daemon.place, such as [52.5, 13.4]"
                )
        if self.saving.folder and not self.watches_labels:
            raise ValueError("saving.folder: no label is watched; add some to `events`")
        if self.clips.folder and not self.watches_labels:
            raise ValueError("clips.folder: no label is watched; add some to `events`")
        if self.gpio.outputs and not self.watches_labels:
            raise ValueError("gpio.outputs: no label is watched; add some to `events`")
        if self.notify.rules and not self.watches_labels:
            raise ValueError("notify.rules: no label is watched; add some to `events`")
        if self.clips.folder and self.clips.folder == self.saving.folder:
            raise ValueError("clips.folder: is also `saving.folder`; give the clips a folder of their own")

    @property
    def watches_labels(self) -> bool:
        """Whether any label is watched, of any source."""
        return any(section.enabled for section in self.all_events.values())

    @property
    def all_events(self) -> dict[str, EventsSection]:
        """What is watched of each source that has `events` of its own, by its name; ``""``: of all others."""
        own = {each.name: each.events for each in self.all_sources.values() if each.events is not None}
        return {"": self.events, **own}

    @property
    def shown_results(self) -> dict[str, str]:
        """The results that show each source and region, by its name; for a source with regions, the first."""
        sources = self.all_sources.values()
        regions = {name: name for each in sources for name in each.result_names}
        return {each.name: each.result_names[0] for each in sources} | regions

    @property
    def watched_sources(self) -> list[str]:
        """The names under which results of sources with watched labels are published."""
        events = self.all_events
        sources = [each for each in self.all_sources.values() if events.get(each.name, self.events).enabled]
        return [name for each in sources for name in each.result_names]

    @property
    def all_sources(self) -> dict[str, SourceSection]:
        """What the daemon captures from, by the place of its keys: ``source``, or ``sources[0]`` ..."""
        if self.sources:
            return {f"sources[{number}]": each for number, each in enumerate(self.sources)}
        return {} if self.source.type == "none" else {"source": self.source}
