"""Keep the scales of a quantized network within what its integers can hold.

A bias has 32 bits and the scale ``input scale x filter scale``. A filter that is all zero would get the
smallest possible scale, in which its bias overflows. XNNPACK multiplies each sum of products by ``input scale
x filter scale / output scale``, which must be below 256; an activation that is zero for all images would get
a scale too small for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from incv3d.models.flatbuffer.activation_ranges import Range

Array = npt.NDArray[np.float32]

FILTER_LEVELS, ACTIVATION_LEVELS = 127, 255
BIAS_LEVELS = 2.0**28
"""Of 2 ** 31; the rest is for the sum of products, and for the final scale of the input, which can differ
when it shares that of another activation."""
LARGEST_FACTOR = 128.0
"""XNNPACK's limit is 256; the final scales can differ here, too."""
SMALLEST_FACTOR = 2.0**-31
"""A smaller one would turn the largest sum into nothing."""
NARROWEST = 1e-6
"""Width of a range; also for a network whose output does not depend on its input."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The weights of a convolution or a dense layer."""

    name: str
    """The name of the tensor."""
    input: str
    output: str
    weights: Array
    axis: int
    """The axis of the weights along which each filter has its own scale."""
    bias: Array | None

    @property
    def largest(self) -> Array:
        """The largest absolute weight of each filter, with the axes of the weights."""
        others = tuple(axis for axis in range(self.weights.ndim) if axis != self.axis)
        found: Array = np.maximum(
            self.weights.max(axis=others, keepdims=True), -self.weights.min(axis=others, keepdims=True)
        )
        return found


def limit_scales(ranges: Mapping[str, Range], layers: Iterable[Filters]) -> dict[str, dict[str, Any]]:
    """Return the ranges to quantize with, widened where scales would be too small.

    :param ranges: of the activations.
    :param layers: in the order in which they run.
    :returns: ``min`` and ``max`` of every activation, ``(1,)``, and of those weights that need other scales
        than their own largest values give, one per filter.
    """
    widths = {name: max(high, 0.0) - min(low, 0.0) for name, (low, high) in ranges.items()}
    found: dict[str, dict[str, Any]] = {}
    for layer in layers:
        largest = layer.largest
        input_scale = max(widths[layer.input], NARROWEST) / ACTIVATION_LEVELS
        scales = largest / FILTER_LEVELS
        narrowest = input_scale * float(scales.max()) / LARGEST_FACTOR * ACTIVATION_LEVELS
        widths[layer.output] = max(widths[layer.output], narrowest, NARROWEST)
        floor = np.full_like(scales, SMALLEST_FACTOR * widths[layer.output] / ACTIVATION_LEVELS / input_scale)
        if layer.bias is not None:
            floor = np.maximum(floor, np.abs(layer.bias).reshape(scales.shape) / BIAS_LEVELS / input_scale)
        if (scales < floor).any():
            # Layers can share their weights.
            bound = np.maximum(
                found.get(layer.name, {}).get("max", 0.0), np.maximum(scales, floor) * FILTER_LEVELS
            )
            found[layer.name] = {"min": -bound, "max": bound}
    for name, (low, high) in ranges.items():
        least = max(widths[name], NARROWEST)
        lowest = min(low, 0.0)
        found[name] = {
            "min": np.array([lowest], np.float32),
            "max": np.array([max(high, lowest + least)], np.float32),
        }
    return found
