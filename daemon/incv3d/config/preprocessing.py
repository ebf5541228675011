"""Types that describe how an image becomes the input of a network, for configuration and models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

PerChannel = float | tuple[float, ...]
"""One number for every channel, or one for each, in the order in which the network takes its channels."""
Interpolation = Literal[
    "bilinear",
    "bicubic",
    "tf-bilinear",
    "tf-bilinear-antialias",
    "pillow-nearest",
    "pillow-box",
    "pillow-bilinear",
    "pillow-bicubic",
    "pillow-lanczos",
]
"""How an image is resized.

``bilinear``: as TensorFlow 1's ``ResizeBilinear`` samples it, without anti-aliasing;
``tf-bilinear``: as ``tf.image.resize`` and Keras do it, with half-pixel centres, without anti-aliasing;
``tf-bilinear-antialias``: as ``tf.image.resize(antialias=True)`` does it;
``pillow-...``: as Pillow's ``Image.resize`` does it, JPEGs decoded as Pillow decodes them;
``bicubic``: as Pillow's, but JPEGs are decoded as TensorFlow decodes them, and ``fast`` may resize a large
image in two steps.
"""


PresetName = Literal["none", "torchvision", "timm", "timm-inception"]
"""Whose preprocessing an image gets."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The mean and standard deviation of ImageNet's pixels, from 0 to 1, as torchvision and timm have them."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """The preprocessing with which a library evaluates its networks: resize, crop the center, normalize."""

    mean: PerChannel
    """For RGB pixels from 0 to 1."""
    std: PerChannel
    interpolation: Interpolation
    crop_fraction: float = 0.875
    """The network's size as a fraction of the size to which the image's shorter side is resized."""
    rounds_down: bool
    """Whether that size is rounded down, not to the nearest number."""

    def mean_and_std(self, channel_order: Literal["rgb", "bgr"]) -> tuple[PerChannel, PerChannel]:
        """Return both, in the order of the network's channels."""
        if channel_order == "rgb":
            return self.mean, self.std
        mean, std = (each[::-1] if isinstance(each, tuple) else each for each in (self.mean, self.std))
        return mean, std

    def resize_to(self, side: int, crop_fraction: float | None) -> int:
        """Return the size to which the image's shorter side is resized.

        :param side: the network's longer side.
        :param crop_fraction: replaces the preset's; None: does not.
        """
        size = side / (crop_fraction or self.crop_fraction)
        return math.floor(size) if self.rounds_down else round(size)


PRESETS: dict[PresetName, Preset] = {
    # ImageClassification(crop_size=224, resize_size=256) in torchvision/transforms/_presets.py; Inception-v3
    # has 299 and 342
    "torchvision": Preset(
        mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="pillow-bilinear", rounds_down=False
    ),
    # timm/data/constants.py, transforms_factory.py (transforms_imagenet_eval)
    "timm": Preset(mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="pillow-bicubic", rounds_down=True),
    "timm-inception": Preset(mean=0.5, std=0.5, interpolation="pillow-bicubic", rounds_down=True),
}


def channel_ranges(mean: PerChannel, scale: PerChannel) -> list[tuple[float, float]]:
    """Return ``(pixel - mean) / scale`` for pixels of 0 and 255: one pair for all channels, or one each."""
    each = [value if isinstance(value, tuple) else (value,) for value in (mean, scale)]
    count = max(map(len, each))
    means, scales = (value * count if len(value) == 1 else value for value in each)
    return [((0 - m) / s, (255 - m) / s) for m, s in zip(means, scales, strict=True)]


class Normalisation(msgspec.Struct, frozen=True, kw_only=True):
    """The normalization of pixels from 0 to 255: ``(pixel - mean) / scale``."""

    mean: PerChannel
    scale: PerChannel
    why: str
    """Where it comes from, for the log."""
    caution: str = ""
    """What may be wrong with it, for the log."""

    @property
    def low(self) -> PerChannel:
        """The value for pixel value 0."""
        return _joined([low for low, _ in channel_ranges(self.mean, self.scale)])

    @property
    def high(self) -> PerChannel:
        """The value for pixel value 255."""
        return _joined([high for _, high in channel_ranges(self.mean, self.scale)])

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """The values for pixel values 0 and 255; None: they differ by channel."""
        ranges = channel_ranges(self.mean, self.scale)
        return ranges[0] if len(ranges) == 1 else None

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value of any channel."""
        ends = [end for pair in channel_ranges(self.mean, self.scale) for end in pair]
        return min(ends), max(ends)


def from_range(low: float, high: float, why: str, caution: str = "") -> Normalisation:
    """Return the normalisation that maps 0 to `low` and 255 to `high`."""
    # pixel / 255 * (high - low) + low, as (pixel - mean) / scale
    scale = 255 / (high - low)
    return Normalisation(mean=(0 - low) * scale, scale=scale, why=why, caution=caution)


def from_mean_and_std(mean: PerChannel | None, std: PerChannel | None, why: str) -> Normalisation:
    """Return the normalisation for ``custom.mean`` and ``custom.std``.

    If both are at most 1, they are for pixels from 0 to 1.
    torchvision uses 0.485 and 0.229 with pixels from 0 to 1, Caffe 103.939 and 1 with pixels from 0 to 255.

    :raises ValueError: it is not clear which pixels they are for, or they are for different ones.
    """
    means, stds = _each(0.0 if mean is None else mean), _each(1.0 if std is None else std)
    if not all(map(math.isfinite, (*means, *stds))):
        raise ValueError("mean: mean and std must be numbers")
    if min(stds) <= 0:
        raise ValueError("std: must be more than 0")
    small_mean, small_std = max(map(abs, means)) <= 1, max(stds) <= 1
    if small_mean and small_std and max(map(abs, means)) == 0 and set(stds) == {1.0}:
        raise ValueError("mean: 0 with std 1 is ambiguous; write pixel_range: [0, 1] or [0, 255]")
    if not small_mean and small_std and min(stds) < 1:
        raise ValueError(
            f"std: {_spell(stds)} is for pixels from 0 to 1, mean {_spell(means)} for pixels from 0 to 255; "
            f"pixels are divided by std: a factor of 0.017 is a std of 58.8"
        )
    if small_mean and not small_std and any(means):
        raise ValueError(
            f"mean: {_spell(means)} is for pixels from 0 to 1, std {_spell(stds)} for pixels from 0 to 255"
        )
    unit = 255.0 if small_mean and small_std else 1.0
    said = (
        f"{why}: mean {_spell(means)}, std {_spell(stds)} for pixels from 0 to {'1' if unit > 1 else '255'}"
    )
    return Normalisation(mean=_scaled(means, unit), scale=_scaled(stds, unit), why=said)


def _each(given: PerChannel) -> tuple[float, ...]:
    return given if isinstance(given, tuple) else (given,)


def _scaled(given: tuple[float, ...], factor: float) -> PerChannel:
    return _joined([each * factor for each in given])


def _joined(values: Sequence[float]) -> PerChannel:
    return tuple(values) if len(values) > 1 else values[0]


def _spell(given: Sequence[float]) -> str:
    return ", ".join(f"{each:g}" for each in (given[:1] if len(set(given)) == 1 else given))
