"""Choose how pixels are normalised for a user's network, and check that its input can hold the result.

Imports neither TensorFlow nor NumPy: the check of the configuration uses it, too.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from incv3d.config.preprocessing import Normalisation, PerChannel, from_mean_and_std, from_range
from incv3d.models.entry import ModelError

DEFAULT_RANGE = (-1.0, 1.0)
"""What 0 and 255 become for every Inception and MobileNet of TensorFlow."""
ASSUMED = "assumed, the network does not say; custom.pixel_range, or mean and std, can say otherwise"
USUAL_RANGES = ((0.0, 1.0), (-0.5, 0.5), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))
"""What 0 and 255 usually become, narrow ranges first."""
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of torchvision's networks, for pixels from 0 to 1."""
TORCH_RANGE = (-2.118, 2.640)
"""The least and the largest value of a pixel that is normalised with these two."""
STEPS = 1.5
"""How many quantisation steps the ends of an 8-bit input may differ from a usual range by rounding."""
SLACK = 0.03
"""How far an input may reach beyond a usual range, relative to that range."""
DIM = 0.75
"""An input that covers less of a usual range than this was calibrated with unusual pictures."""
UNLIKE = 0.25
"""An input that covers less of a range than this was not trained with it."""
NONSENSE = 0.1
"""Below this overlap of what is fed and what the input can hold, settings make no sense."""
HALF = 0.55
"""A network that gets less of its input's range than this sees pale pictures."""


class IntegerRange(msgspec.Struct, frozen=True, kw_only=True):
    """The range of an input of integers, as real numbers."""

    low: float
    high: float
    step: float
    """The difference of two neighbouring values."""
    dtype: str
    quantised: bool
    """False: it has no scale, and its integers stand for themselves."""

    @property
    def is_symmetric(self) -> bool:
        """Whether it is quantised symmetrically around 0 whatever the pictures were, as 16-bit inputs are."""
        return self.dtype == "int16" and self.quantised

    def takes(self, wanted: Normalisation) -> bool:
        """Whether the pixels that `wanted` gives have about the range of the input."""
        low, high = wanted.limits
        span = high - low if self.is_symmetric else max(high - low, self.high - self.low)
        return self.quantised and _overlap(low, high, self) > DIM * span


def from_integers(dtype: str) -> Normalisation:
    """Return the normalisation of an input of integers without a scale, which takes bytes as they are."""
    low, high = (-128.0, 127.0) if dtype == "int8" else (0.0, 255.0)
    return from_range(low, high, f"its input takes integers ({dtype}) without a scale")


def from_quantised(held: IntegerRange) -> Normalisation:
    """Return the normalisation with which a network with a quantised input was most likely trained.

    The scale comes from the pictures that calibrated the network. If it maps 0 to 255 to a usual range, the
    integers are the bytes themselves. If it covers somewhat less of one, those pictures had no black or no
    white in them, and the network was still trained with the whole range.
    """
    ends = f"{held.low:.4g} to {held.high:.4g}"
    said = f"its quantised input ({held.dtype}) holds {ends}"
    if held.is_symmetric:
        for low, high in reversed(USUAL_RANGES[1:]):
            if DIM <= held.high / max(-low, high) <= 1 + SLACK:
                besides = "; 0 to 1 would fit as well" if high == 1 else ""
                return from_range(low, high, f"{said}{besides}")
    elif any(_near(held, low, high, STEPS * held.step) for low, high in USUAL_RANGES):
        return from_range(held.low, held.high, said)
    if _near(held, *TORCH_RANGE, 0.1 * (TORCH_RANGE[1] - TORCH_RANGE[0])):
        return from_mean_and_std(TORCH_MEAN, TORCH_STD, f"{said}, as torchvision's networks do")
    for low, high in USUAL_RANGES:
        slack = SLACK * (high - low)
        share = (held.high - held.low) / (high - low)
        if held.low < low - slack or held.high > high + slack or share < UNLIKE:
            continue
        if share >= DIM:
            return from_range(low, high, f"{said}, most of {low:g} to {high:g}")
        caution = (
            f"the network's quantised input holds only {ends}, {share:.0%} of {low:g} to {high:g}, which is "
            f"taken: it was probably calibrated with few or dark pictures, and what is beyond is cut; "
            f"custom.pixel_range says otherwise"
        )
        return from_range(low, high, said, caution)
    caution = (
        f"the network's quantised input holds {ends}, which is like no usual pixel range; all of it is "
        f"taken; if the scores make no sense, say custom.pixel_range, or custom.mean and custom.std"
    )
    return from_range(held.low, held.high, said, caution)


def choose_normalisation(
    file: str,
    pixel_range: tuple[float, float] | None,
    mean: PerChannel | None,
    std: PerChannel | None,
    told: Normalisation | None,
    held: IntegerRange | None,
    channels: Literal[1, 3],
) -> Normalisation:
    """Return how pixels are normalised: as configured, else as the network declares, else as assumed.

    :param told: what the network itself declares.
    :param held: the range of its input; None: floats.
    :raises ModelError: the settings are for another number of channels, or for values that the input cannot
        hold.
    """
    key, wanted = "custom.pixel_range", None
    if pixel_range:
        wanted = from_range(*pixel_range, key)
    elif mean is not None or std is not None:
        key = "custom.mean and custom.std"
        wanted = from_mean_and_std(mean, std, key)
        _check_channels(file, wanted, channels)
    if wanted is None:
        if told and _fits(told, channels):
            return told
        assumed = from_range(*DEFAULT_RANGE, ASSUMED)
        return _check_held(file, assumed, held, "what is assumed, -1 to 1,") if held else assumed
    if held:
        return _check_held(file, wanted, held, key)
    return _check_told(wanted, told, key) if told else wanted


def _check_held(file: str, wanted: Normalisation, held: IntegerRange, key: str) -> Normalisation:
    """Return `wanted`, with a caution if the input covers too little of it, or far more.

    :param key: the setting that `wanted` comes from.
    :raises ModelError: hardly anything of a picture would reach the network.
    """
    low, high = wanted.limits
    kept = _overlap(low, high, held) / (high - low)
    used = _overlap(low, high, held) / (held.high - held.low)
    if not held.quantised and held.dtype not in ("int8", "uint8"):
        used = 1.0 if (high - low) / held.step > NONSENSE * 255 else 0.0
    what = f"{key} makes {low:.4g} to {high:.4g} of pixels, but the {held.dtype} input"
    if kept < NONSENSE or used < NONSENSE:
        raise ModelError(
            f"{file}: {what} holds {held.low:.4g} to {held.high:.4g} in steps of {held.step:.2g}; "
            f"leave {key} out: what the file says is taken then"
        )
    caution = ""
    if kept < DIM:
        caution = f"{what} holds only {held.low:.4g} to {held.high:.4g}: what is beyond is cut"
    elif used < HALF and not held.is_symmetric:
        caution = f"{what} is made for {held.low:.4g} to {held.high:.4g}: pictures will look pale to it"
    return msgspec.structs.replace(wanted, caution=caution)


def _check_told(wanted: Normalisation, told: Normalisation, key: str) -> Normalisation:
    """Return `wanted`, with a caution if the network itself declares a range of quite another size."""
    (low, high), (told_low, told_high) = wanted.limits, told.limits
    if 1 / 4 < (high - low) / (told_high - told_low) < 4:
        return wanted
    caution = (
        f"{key} makes {low:.4g} to {high:.4g} of pixels, but the network itself takes {told_low:.4g} to "
        f"{told_high:.4g} ({told.why}); if the scores make no sense, leave {key} out"
    )
    return msgspec.structs.replace(wanted, caution=caution)


def _check_channels(file: str, wanted: Normalisation, channels: Literal[1, 3]) -> None:
    for key, given in (("mean", wanted.mean), ("std", wanted.scale)):
        if isinstance(given, tuple) and len(given) != channels:
            takes = "one channel" if channels == 1 else "three channels"
            raise ModelError(f"{file}: custom.{key} has {len(given)} numbers, the network takes {takes}")


def _fits(told: Normalisation, channels: int) -> bool:
    return all(not isinstance(each, tuple) or len(each) == channels for each in (told.mean, told.scale))


def _near(held: IntegerRange, low: float, high: float, by: float) -> bool:
    return abs(held.low - low) <= by and abs(held.high - high) <= by


def _overlap(low: float, high: float, held: IntegerRange) -> float:
    return max(0.0, min(high, held.high) - max(low, held.low))
