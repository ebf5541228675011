"""How an image becomes the input of a network: the types that a configuration and a model share."""

from __future__ import annotations

from typing import Literal

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
"""How a picture is resized.

``bilinear``: as TensorFlow 1's ``ResizeBilinear`` samples it, without anti-aliasing;
``tf-bilinear``: as ``tf.image.resize`` and Keras do it, with half-pixel centres, without anti-aliasing;
``tf-bilinear-antialias``: as ``tf.image.resize(antialias=True)`` does it;
``pillow-...``: as Pillow's ``Image.resize`` does it, JPEGs decoded as Pillow decodes them;
``bicubic``: as Pillow's, but JPEGs are decoded as TensorFlow decodes them, and ``fast`` may resize a large
picture in two steps.
"""


def channel_ranges(mean: PerChannel, scale: PerChannel) -> list[tuple[float, float]]:
    """Return ``(pixel - mean) / scale`` of 0 and of 255: one pair for all channels, or one for each."""
    each = [value if isinstance(value, tuple) else (value,) for value in (mean, scale)]
    count = max(map(len, each))
    means, scales = (value * count if len(value) == 1 else value for value in each)
    return [((0 - m) / s, (255 - m) / s) for m, s in zip(means, scales, strict=True)]
