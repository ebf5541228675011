"""Define the job of the child process that freezes networks, and functions shared by its formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from incv3d.config.preprocessing import Interpolation, Normalisation, PerChannel
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import Kind
from incv3d.models.samples import sample_pixels

PIXELS, SCORES = "incv3d/pixels", "incv3d/scores"
CHANNELS: tuple[Literal[1, 3], ...] = (3, 1)
"""Numbers of channels that a network may have; 3 if its shape leaves that open."""
Array = npt.NDArray[Any]
Run = Callable[[Array], Array]


class FreezeJob(msgspec.Struct, frozen=True, kw_only=True):
    """The network to freeze, passed to the child process as JSON. Empty strings and 0: detect."""

    file: str
    kind: Kind
    input: str
    output: str
    signature: str = ""
    """The signature of a SavedModel."""
    width: int
    height: int
    layout: Literal["auto", "nhwc", "nchw"]
    network: str
    """Path for the frozen network."""
    facts: str
    """Path for the facts."""
    pixel_range: tuple[float, float] | None = None
    """The values that 0 and 255 become; None: as the network declares."""
    mean: PerChannel | None = None
    std: PerChannel | None = None
    """The same as ``(pixel - mean) / std``, for pixels from 0 to 1 or to 255."""
    mean_from: str = "custom.mean and custom.std"
    """The setting from which these two come."""
    needs_labels: bool = False
    """Whether to read the labels in the file itself, if there are any."""

    @property
    def says_pixels(self) -> bool:
        """Whether the settings define the pixel range."""
        return not (self.pixel_range is None and self.mean is None and self.std is None)


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a network."""

    input: str
    output: str
    width: int
    height: int
    layout: Literal["nhwc", "nchw"]
    outputs: int
    """Number of scores; 1: the score of the second of two labels."""
    scores: Literal["probabilities", "logits"]
    channels: Literal[1, 3] = 3
    normalisation: Normalisation
    """The conversion of pixels: configured, declared by the network, or assumed."""
    interpolation: Interpolation | None = None
    """The interpolation with which images were resized; None: unknown."""
    labels: bytes = b""
    """The labels file embedded in the network's file; empty if there is none."""
    labels_name: str = ""
    """The name of that file."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a network's input and the order of its dimensions."""

    width: int
    height: int
    layout: Literal["nhwc", "nchw"]
    channels: Literal[1, 3] = 3

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        """The dimensions in TensorFlow's order."""
        if self.layout == "nchw":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


def input_shape(job: FreezeJob, name: str, known: list[int | None] | None) -> Shape:
    """Return the shape in which the input called `name` is fed.

    :param known: the network's dimensions, with None or -1 for open ones; None: unknown.
    :raises ModelError: the input does not take one image at a time, or its size is open and not configured.
    """
    sides = [None if side is None or side < 1 else side for side in known] if known else [None] * 4
    if len(sides) == 4 and sides[0] not in (None, 1):
        raise ModelError(
            f"{job.file}: `{name}` has shape {spell(known)}, but must take one image at a time, not "
            f"{sides[0]}; export the network with a batch size of 1, or an open one"
        )
    if len(sides) != 4:
        raise ModelError(
            f"{job.file}: `{name}` has shape {spell(known)}, but must take one image at a time: "
            f"1 x height x width x channels"
        )
    layout = job.layout
    if layout == "auto":
        layout = "nchw" if sides[1] in CHANNELS and sides[3] not in CHANNELS else "nhwc"
    channels, height, width = (sides[i] for i in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
    if channels not in (None, *CHANNELS):
        raise ModelError(
            f"{job.file}: `{name}` has shape {spell(known)}, but must take three channels, or one (gray)"
        )
    for what, wanted, has in (("width", job.width, width), ("height", job.height, height)):
        if wanted and has and wanted != has:
            raise ModelError(f"{job.file}: custom.{what} is {wanted}, but `{name}` has shape {spell(known)}")
        if not wanted and not has:
            raise ModelError(
                f"{job.file}: `{name}` takes images of any size: set custom.width and custom.height"
            )
    return Shape(
        width=job.width or width or 0,
        height=job.height or height or 0,
        layout=layout,
        channels=1 if channels == 1 else 3,
    )


def choose(job: FreezeJob, what: Literal["input", "output"], names: list[str]) -> str:
    """Return the configured tensor, else the only one.

    :raises ModelError: the tensor is missing, or there are several; the message lists them.
    """
    wanted: str = getattr(job, what)
    listed = ", ".join(names[:12]) or "none"
    if wanted:
        found = next((name for name in names if wanted in (name, name.removesuffix(":0"))), None)
        if found is None:
            raise ModelError(f"{job.file}: there is no {what} `{wanted}`; found: {listed}")
        return found
    if len(names) != 1:
        raise ModelError(f"{job.file}: the {what} is ambiguous; set custom.{what} to one of: {listed}")
    return names[0]


def trial_run(
    job: FreezeJob, run: Run, shape: Shape, normalisation: Normalisation, is_linear: bool
) -> tuple[int, Literal["probabilities", "logits"]]:
    """Run the network on noise and photographs, and return the number and the kind of its scores.

    If all scores are within [0, 1], they are assumed to be probabilities (of a softmax or of sigmoids).

    :param normalisation: the conversion of pixels.
    :param is_linear: the last operation is a plain layer without sigmoid or softmax, so a single score is a
        logit even if all values seen happen to be within [0, 1].
    :raises ModelError: the output is not one row of numbers.
    """
    likely = True
    for _, pixels in sample_pixels(shape.dimensions, shape.layout, normalisation.low, normalisation.high):
        scores = run(pixels)
        if not scores.ndim or not scores.size or scores.size != scores.shape[-1]:
            raise ModelError(f"{job.file}: its output has shape {spell(scores.shape)}, not a score per class")
        if not np.isfinite(scores).all():
            raise ModelError(f"{job.file}: its scores are not numbers: its weights are damaged")
        likely = likely and bool(scores.min() >= -1e-3 and scores.max() <= 1 + 1e-3)
    if scores.size == 1 and is_linear:
        likely = False
    return scores.size, "probabilities" if likely else "logits"


def spell(shape: Any) -> str:
    """Return `shape` in readable form: ``1x224x224x3``, with ``?`` for an open side."""
    if shape is None:
        return "unknown"
    return "x".join("?" if side is None or side < 0 else str(side) for side in shape) or "()"
