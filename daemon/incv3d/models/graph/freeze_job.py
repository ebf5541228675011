"""The job of the child process that freezes networks, and what its formats share."""

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
"""How many a network may take; 3 where its shape leaves it open."""
Array = npt.NDArray[Any]
Run = Callable[[Array], Array]


class FreezeJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be frozen, handed to the child process as JSON. Empty and 0: to be found."""

    file: str
    kind: Kind
    input: str
    output: str
    signature: str = ""
    """Of a SavedModel."""
    width: int
    height: int
    layout: Literal["auto", "nhwc", "nchw"]
    network: str
    """Where the frozen network is written."""
    facts: str
    """Where the facts are written."""
    pixel_range: tuple[float, float] | None = None
    """What 0 and 255 become; None: what the network says."""
    mean: PerChannel | None = None
    std: PerChannel | None = None
    """The same as ``(pixel - mean) / std``, of pixels from 0 to 1 or to 255."""
    needs_labels: bool = False
    """Whether the labels are to be those in the file itself, if there are any."""

    @property
    def says_pixels(self) -> bool:
        """Whether the settings say what pixels become."""
        return not (self.pixel_range is None and self.mean is None and self.std is None)


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    input: str
    output: str
    width: int
    height: int
    layout: Literal["nhwc", "nchw"]
    outputs: int
    """How many scores it gives; 1: that of the second of two labels."""
    scores: Literal["probabilities", "logits"]
    channels: Literal[1, 3] = 3
    normalisation: Normalisation
    """What pixels become: as configured, as the network itself says, or assumed."""
    interpolation: Interpolation | None = None
    """How its pictures were resized; None: the network does not say."""
    labels: bytes = b""
    """The file of labels that is in the network's own; empty: there is none."""
    labels_name: str = ""
    """What that file is called."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A network's input: its size and the order of its dimensions."""

    width: int
    height: int
    layout: Literal["nhwc", "nchw"]
    channels: Literal[1, 3] = 3

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        """As TensorFlow has them."""
        if self.layout == "nchw":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


def input_shape(job: FreezeJob, name: str, known: list[int | None] | None) -> Shape:
    """The shape in which the input called `name` is fed.

    :param known: its dimensions as the network has them, None or -1 for an open one; None: nothing is known.
    :raises ModelError: when it takes no pictures one at a time, or its size is open and not configured.
    """
    sides = [None if side is None or side < 1 else side for side in known] if known else [None] * 4
    if len(sides) == 4 and sides[0] not in (None, 1):
        raise ModelError(
            f"{job.file}: `{name}` has shape {spell(known)}, it must take one picture at a time, not "
            f"{sides[0]}; export the network again with a batch size of 1, or an open one"
        )
    if len(sides) != 4:
        raise ModelError(
            f"{job.file}: `{name}` has shape {spell(known)}, it must take one picture at a time: "
            f"1 x height x width x channels"
        )
    layout = job.layout
    if layout == "auto":
        layout = "nchw" if sides[1] in CHANNELS and sides[3] not in CHANNELS else "nhwc"
    channels, height, width = (sides[i] for i in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
    if channels not in (None, *CHANNELS):
        raise ModelError(
            f"{job.file}: `{name}` has shape {spell(known)}, it must take three channels, or one (grey)"
        )
    for what, wanted, has in (("width", job.width, width), ("height", job.height, height)):
        if wanted and has and wanted != has:
            raise ModelError(f"{job.file}: custom.{what} is {wanted}, but `{name}` has shape {spell(known)}")
        if not wanted and not has:
            raise ModelError(
                f"{job.file}: `{name}` takes pictures of any size: say custom.width and custom.height"
            )
    return Shape(
        width=job.width or width or 0,
        height=job.height or height or 0,
        layout=layout,
        channels=1 if channels == 1 else 3,
    )


def choose(job: FreezeJob, what: Literal["input", "output"], names: list[str]) -> str:
    """The tensor that is meant: the configured one, else the only one.

    :raises ModelError: naming those that there are.
    """
    wanted: str = getattr(job, what)
    listed = ", ".join(names[:12]) or "none that can be told"
    if wanted:
        found = next((name for name in names if wanted in (name, name.removesuffix(":0"))), None)
        if found is None:
            raise ModelError(f"{job.file}: no {what} `{wanted}`; there are: {listed}")
        return found
    if len(names) != 1:
        raise ModelError(f"{job.file}: which {what} is meant? Say custom.{what}; there are: {listed}")
    return names[0]


def trial_run(
    job: FreezeJob, run: Run, shape: Shape, normalisation: Normalisation, is_linear: bool
) -> tuple[int, Literal["probabilities", "logits"]]:
    """Run the network on noise and photographs, and return how many scores it gives, and of what kind.

    Scores within [0, 1] on all of them are taken for probabilities (of a softmax or of sigmoids).

    :param normalisation: what pixels become.
    :param is_linear: whether its last operation is a plain layer without a sigmoid or softmax: a single score
        is a logit then, even where all that were seen happen to lie within [0, 1].
    :raises ModelError: when it gives anything but one row of numbers.
    """
    likely = True
    for _, pixels in sample_pixels(shape.dimensions, shape.layout, normalisation.low, normalisation.high):
        scores = run(pixels)
        if not scores.ndim or not scores.size or scores.size != scores.shape[-1]:
            raise ModelError(f"{job.file}: its output has shape {spell(scores.shape)}, not one score a class")
        if not np.isfinite(scores).all():
            raise ModelError(f"{job.file}: its scores are not numbers: its weights are damaged")
        likely = likely and bool(scores.min() >= -1e-3 and scores.max() <= 1 + 1e-3)
    if scores.size == 1 and is_linear:
        likely = False
    return scores.size, "probabilities" if likely else "logits"


def spell(shape: Any) -> str:
    """Return `shape` as people write one: ``1x224x224x3``, an open side as ``?``."""
    if shape is None:
        return "unknown"
    return "x".join("?" if side is None or side < 0 else str(side) for side in shape) or "()"


def one_line(error: Exception) -> str:
    """The message of a library's error, short enough for a log."""
    return " ".join(str(error).split())[:300]
