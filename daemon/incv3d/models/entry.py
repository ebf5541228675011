"""What is to be known of a model in order to run it: its tensors, its input, its labels."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from incv3d.errors import Incv3dError

Positive = Annotated[int, msgspec.Meta(gt=0)]


class ModelError(Incv3dError):
    """A model is missing, damaged, or not what it is said to be."""


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The facts of one model. Pixels reach the network as ``(pixel - mean) / scale``, RGB."""

    input: str
    """The tensor that takes ``(1, height, width, 3) float32``, ``Mul:0``."""
    output: str
    """The tensor that gives the probabilities, ``softmax:0``."""
    height: Positive
    width: Positive
    mean: float
    scale: float
    fit: Literal["stretch", "crop"]
    """``stretch``: the whole picture, whatever its shape; ``crop``: its central square."""
    crop_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """``crop``: the side of the square as a fraction of the picture's shorter side."""
    interpolation: Literal["bilinear", "bicubic"]
    """``bilinear``: as TensorFlow's ResizeBilinear of 2015 samples it, without anti-aliasing;
    ``bicubic``: with anti-aliasing, as Pillow does it."""
    outputs: Positive
    """Length of the score vector."""
    archive_bytes: Positive | None = None
    """Size of the file that the model is imported from; None for one that incv3d builds itself."""
    graph_bytes: Positive | None = None
    """Size of the frozen graph in it."""
    licence: str = ""
    source: str = ""
    """Where the model comes from."""
