"""Regions of a source: the part of the image, and perhaps a model of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from incv3d.config.address import Address
from incv3d.config.checks import NAME, check_model_name
from incv3d.frames import Region

MOST_REGIONS = 32
"""Each region has its own place in the frame queue and its own run."""
ROUNDING = 1e-9
"""How much the sum of two fractions may exceed 1."""
KEYS = ("box", "model")
RegionSetting = Annotated[
    list[float] | dict[str, list[float] | str],
    msgspec.Meta(description="[x, y, width, height], or `box: [x, y, width, height]` with `model: NAME`"),
]
"""The box of a region, ``[x, y, width, height]``, or ``{box: [x, y, width, height], model: NAME}``."""
Regions = Mapping[str, RegionSetting]


def boxes_of(regions: Regions) -> dict[str, Region]:
    """Return the regions, as frames carry them."""
    return {name: Region(*_box_of(setting)) for name, setting in regions.items()}


def models_of(regions: Regions) -> dict[str, str]:
    """Return the names of the models of those regions that name one."""
    named = {name: setting for name, setting in regions.items() if isinstance(setting, dict)}
    return {name: str(setting["model"]) for name, setting in named.items() if "model" in setting}


def check_regions(key: str, regions: Regions) -> None:
    """Raise ValueError unless these are regions, and not too many."""
    if len(regions) > MOST_REGIONS:
        raise ValueError(f"{key}: at most {MOST_REGIONS} are possible, not {len(regions)}")
    for name, setting in regions.items():
        if not re.fullmatch(NAME, name):
            raise ValueError(
                f"{key}: `{Address(name)}` is not a valid name for a region; use letters, digits, - and _"
            )
        _check_setting(f"{key}.{name}", setting)


def _check_setting(key: str, setting: RegionSetting) -> None:
    if isinstance(setting, dict):
        if other := next((each for each in setting if each not in KEYS), ""):
            raise ValueError(f"{key}: `{Address(other)}` is unknown; a region has a `box` and a `model`")
        if "box" not in setting or isinstance(setting["box"], str):
            raise ValueError(f"{key}: its `box` must be four numbers, [x, y, width, height]")
        if not setting.get("model", "auto") or isinstance(setting.get("model"), list):
            raise ValueError(f"{key}: its `model` must be the name of a model")
        check_model_name(f"{key}.model", str(setting.get("model", "auto")))
    numbers = _box_of(setting)
    if len(numbers) != 4:
        raise ValueError(f"{key}: must be four numbers, [x, y, width, height], not {len(numbers)}")
    for number in numbers:
        if not 0 <= number <= 1:
            raise ValueError(f"{key}: {number:g} must be a fraction of the image, from 0 to 1")
    x, y, width, height = numbers
    if not (width and height):
        raise ValueError(f"{key}: its width and height must not be 0")
    for what, end in (("x + width", x + width), ("y + height", y + height)):
        if end > 1 + ROUNDING:
            raise ValueError(f"{key}: {what} is {end:g}; the image ends at 1")


def _box_of(setting: RegionSetting) -> list[float]:
    box = setting["box"] if isinstance(setting, dict) else setting
    assert isinstance(box, list), "checked when the configuration was read"
    return box
