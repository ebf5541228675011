"""Choose how pixels are normalized for a user's network, and check that its input can hold the result.

Imports neither TensorFlow nor NumPy, because the configuration check uses it, too.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from incv3d.config.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalisation,
    PerChannel,
    from_mean_and_std,
    from_range,
)
from incv3d.models.entry import ModelError

DEFAULT_RANGE = (-1.0, 1.0)
"""The range used by all Inception and MobileNet networks of TensorFlow."""
ASSUMED = "assumed, not declared by the network; to change it, set custom.pixel_range, or mean and std"
USUAL_RANGES = ((0.0, 1.0), (-0.5, 0.5), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))
"""Usual pixel ranges, narrow ones first."""
TORCH_RANGE = (-2.118, 2.640)
"""The smallest and the largest pixel after normalization as for torchvision's networks."""
STEPS = 1.5
"""Number of quantization steps by which an 8-bit input may differ from a usual range, due to rounding."""
SLACK = 0.03
"""Fraction of a usual range by which an input may exceed it."""
DIM = 0.75
"""An input that covers less than this fraction of a usual range was calibrated with unusual images."""
UNLIKE = 0.25
"""An input that covers less than this fraction of a range was not trained with it."""
NONSENSE = 0.1
"""If the configured range and the input's range overlap less than this, the settings are wrong."""
HALF = 0.55
"""If pixels cover less than this fraction of the input's range, the network sees pale images."""


class IntegerRange(msgspec.Struct, frozen=True, kw_only=True):
    """The range of an integer input, as real numbers."""

    low: float
    high: float
    step: float
    """The difference between neighboring values."""
    dtype: str
    quantised: bool
    """False: the input has no scale; its integers are the values."""

    @property
    def is_symmetric(self) -> bool:
        """Whether it is quantized symmetrically around 0 regardless of the images, as 16-bit inputs are."""
        return self.dtype == "int16" and self.quantised

    def takes(self, wanted: Normalisation) -> bool:
        """Return whether pixels normalized with `wanted` have about the range of the input."""
        low, high = wanted.limits
        span = high - low if self.is_symmetric else max(high - low, self.high - self.low)
        return self.quantised and _overlap(low, high, self) > DIM * span


def from_integers(dtype: str) -> Normalisation:
    """Return the normalization for an integer input without a scale, which takes bytes unchanged."""
    low, high = (-128.0, 127.0) if dtype == "int8" else (0.0, 255.0)
    return from_range(low, high, f"its input is integers ({dtype}) without a scale")


def from_quantised(held: IntegerRange) -> Normalisation:
    """Return the normalization with which a network with a quantized input was most likely trained.

    The scale comes from the images that calibrated the network. If it maps 0 to 255 to a usual range, the
    integers are the bytes themselves. If it covers somewhat less of a range, the images contained no black or
    no white, and the network was still trained with the full range.
    """
    ends = f"{held.low:.4g} to {held.high:.4g}"
    reason = f"its quantized input ({held.dtype}) holds {ends}"
    if held.is_symmetric:
        for low, high in reversed(USUAL_RANGES[1:]):
            if DIM <= held.high / max(-low, high) <= 1 + SLACK:
                besides = "; 0 to 1 would fit as well" if high == 1 else ""
                return from_range(low, high, f"{reason}{besides}")
    elif any(_near(held, low, high, STEPS * held.step) for low, high in USUAL_RANGES):
        return from_range(held.low, held.high, reason)
    if _near(held, *TORCH_RANGE, 0.1 * (TORCH_RANGE[1] - TORCH_RANGE[0])):
        return from_mean_and_std(IMAGENET_MEAN, IMAGENET_STD, f"{reason}, as torchvision's networks do")
    for low, high in USUAL_RANGES:
        slack = SLACK * (high - low)
        share = (held.high - held.low) / (high - low)
        if held.low < low - slack or held.high > high + slack or share < UNLIKE:
            continue
        if share >= DIM:
            return from_range(low, high, f"{reason}, most of {low:g} to {high:g}")
        caution = (
            f"its quantized input holds only {ends}, {share:.0%} of the assumed {low:g} to {high:g}; "
            f"it was probably calibrated with few or dark images; values outside are clipped; "
            f"to change the range, set custom.pixel_range"
        )
        return from_range(low, high, reason, caution)
    caution = (
        f"the network's quantized input holds {ends}, which is not a usual pixel range; all of it is used; "
        f"if the scores make no sense, set custom.pixel_range, or custom.mean and custom.std"
    )
    return from_range(held.low, held.high, reason, caution)


def choose_normalisation(
    file: str,
    pixel_range: tuple[float, float] | None,
    mean: PerChannel | None,
    std: PerChannel | None,
    declared: Normalisation | None,
    held: IntegerRange | None,
    channels: Literal[1, 3],
    assumed: Normalisation | None = None,
    key: str = "custom.mean and custom.std",
) -> Normalisation:
    """Return the normalization: the configured one, else the network's declaration, else the default.

    :param declared: the network's own declaration.
    :param held: the range of its integer input; None: its input is floats.
    :param assumed: the default for such a network; None: [-1, 1].
    :param key: the setting from which `mean` and `std` come.
    :raises ModelError: the settings have the wrong number of channels, or values that the input cannot hold.
    """
    wanted = None
    if pixel_range:
        key = "custom.pixel_range"
        wanted = from_range(*pixel_range, key)
    elif mean is not None or std is not None:
        wanted = from_mean_and_std(mean, std, key)
        _check_channels(file, wanted, channels)
    if wanted is None:
        if declared and _fits(declared, channels):
            return declared
        assumed = assumed or from_range(*DEFAULT_RANGE, ASSUMED)
        return _check_held(file, assumed, held, "the assumed range, -1 to 1,") if held else assumed
    if held:
        return _check_held(file, wanted, held, key)
    return _check_declared(wanted, declared, key) if declared else wanted


def _check_held(file: str, wanted: Normalisation, held: IntegerRange, key: str) -> Normalisation:
    """Return `wanted`, with a caution if it exceeds the input's range, or covers little of it.

    :param key: the setting that `wanted` comes from.
    :raises ModelError: the network would see next to nothing of an image.
    """
    low, high = wanted.limits
    kept = _overlap(low, high, held) / (high - low)
    used = _overlap(low, high, held) / (held.high - held.low)
    if not held.quantised and held.dtype not in ("int8", "uint8"):
        used = 1.0 if (high - low) / held.step > NONSENSE * 255 else 0.0
    what = f"{key} maps pixels to {low:.4g} to {high:.4g}, but the {held.dtype} input"
    if kept < NONSENSE or used < NONSENSE:
        raise ModelError(
            f"{file}: {what} holds {held.low:.4g} to {held.high:.4g} in steps of {held.step:.2g}; "
            f"remove {key}, to use the range that the file declares"
        )
    caution = ""
    if kept < DIM:
        caution = f"{what} holds only {held.low:.4g} to {held.high:.4g}: values outside are clipped"
    elif used < HALF and not held.is_symmetric:
        caution = f"{what} expects {held.low:.4g} to {held.high:.4g}: the network will see pale images"
    return msgspec.structs.replace(wanted, caution=caution)


def _check_declared(wanted: Normalisation, declared: Normalisation, key: str) -> Normalisation:
    """Return `wanted`, with a caution if the network declares a range of a very different size."""
    (low, high), (declared_low, declared_high) = wanted.limits, declared.limits
    if 1 / 4 < (high - low) / (declared_high - declared_low) < 4:
        return wanted
    caution = (
        f"{key} maps pixels to {low:.4g} to {high:.4g}, but the network declares {declared_low:.4g} to "
        f"{declared_high:.4g} ({declared.why}); if the scores make no sense, remove {key}"
    )
    return msgspec.structs.replace(wanted, caution=caution)


def _check_channels(file: str, wanted: Normalisation, channels: Literal[1, 3]) -> None:
    for key, given in (("mean", wanted.mean), ("std", wanted.scale)):
        if isinstance(given, tuple) and len(given) != channels:
            takes = "one channel" if channels == 1 else "three channels"
            raise ModelError(f"{file}: custom.{key} has {len(given)} numbers, but the network has {takes}")


def _fits(declared: Normalisation, channels: int) -> bool:
    given = (declared.mean, declared.scale)
    return all(not isinstance(each, tuple) or len(each) == channels for each in given)


def _near(held: IntegerRange, low: float, high: float, by: float) -> bool:
    return abs(held.low - low) <= by and abs(held.high - high) <= by


def _overlap(low: float, high: float, held: IntegerRange) -> float:
    return max(0.0, min(high, held.high) - max(low, held.low))
