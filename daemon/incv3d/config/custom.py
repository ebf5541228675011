"""The section `custom`: the user's own network."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from incv3d.config.checks import FilePath
from incv3d.config.preprocessing import PRESETS, Interpolation, PerChannel, PresetName, from_mean_and_std
from incv3d.config.section import Section

Side = Annotated[int, msgspec.Meta(ge=0, le=8192)]
"""Pixels; 0: as stored in the network."""


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
