"""Any trained network to one frozen graph with one input and one output; or what a flatbuffer holds.

Run as a process of its own (:mod:`incv3d.models.custom` does): it imports TensorFlow, and what a stranger's
file does to a library must not be done to the daemon.

A GraphDef, a SavedModel and a Keras model all end as a GraphDef whose input ``incv3d/pixels:0`` is
``(1, height, width, 3) float32`` (or ``(1, 3, height, width)``) and whose output ``incv3d/scores:0`` is
``(1, outputs)``. A flatbuffer stays what it is. Each is run, on noise and photographs, before it is admitted.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from incv3d.errors import Incv3dError
from incv3d.models.entry import ModelError
from incv3d.models.kinds import Kind
from incv3d.models.samples import sample_pixels
from incv3d.sessions.base import SessionSpec

FACTS = "facts.json"
PIXELS, SCORES = "incv3d/pixels", "incv3d/scores"
CHANNELS = 3
DEFAULT_RANGE = (-1.0, 1.0)
"""What 0 and 255 become for every Inception."""
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


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    input: str
    output: str
    width: int
    height: int
    layout: Literal["nhwc", "nchw"]
    outputs: int
    scores: Literal["probabilities", "logits"]
    pixel_range: tuple[float, float] | None = None
    """What 0 and 255 are to an input of bytes; None: the network does not say."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A network's input: its size and the order of its dimensions."""

    width: int
    height: int
    layout: Literal["nhwc", "nchw"]

    @property
    def dimensions(self) -> tuple[int, int, int, int]:
        """As TensorFlow has them."""
        if self.layout == "nchw":
            return (1, CHANNELS, self.height, self.width)
        return (1, self.height, self.width, CHANNELS)


def freeze(job: FreezeJob) -> NetworkFacts:
    """Freeze the network, and write it and what was found.

    :raises ModelError: when it is damaged, ambiguous, or no classifier of pictures.
    """
    facts = _flatbuffer(job) if job.kind == "tflite" else _frozen(job)
    Path(job.facts).write_bytes(msgspec.json.encode(facts))
    return facts


def input_shape(job: FreezeJob, name: str, known: list[int | None] | None) -> Shape:
    """The shape in which the input called `name` is fed.

    :param known: its dimensions as the network has them, None or -1 for an open one; None: nothing is known.
    :raises ModelError: when it takes no pictures one at a time, or its size is open and not configured.
    """
    sides = [None if side is None or side < 1 else side for side in known] if known else [None] * 4
    if len(sides) != 4 or sides[0] not in (None, 1):
        raise ModelError(
            f"{job.file}: `{name}` has shape {_spell(known)}, it must take one picture at a time"
        )
    layout = job.layout
    if layout == "auto":
        layout = "nchw" if sides[1] == CHANNELS and sides[3] != CHANNELS else "nhwc"
    channels, height, width = (sides[i] for i in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
    if channels not in (None, CHANNELS):
        raise ModelError(f"{job.file}: `{name}` has shape {_spell(known)}, it must take three channels")
    for what, wanted, has in (("width", job.width, width), ("height", job.height, height)):
        if wanted and has and wanted != has:
            raise ModelError(f"{job.file}: custom.{what} is {wanted}, but `{name}` has shape {_spell(known)}")
        if not wanted and not has:
            raise ModelError(
                f"{job.file}: `{name}` takes pictures of any size: say custom.width and custom.height"
            )
    return Shape(width=job.width or width or 0, height=job.height or height or 0, layout=layout)


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


def try_out(
    job: FreezeJob, run: Run, shape: Shape, pixel_range: tuple[float, float] | None
) -> tuple[int, Literal["probabilities", "logits"]]:
    """Run the network on noise and photographs: how many scores it gives, and of what kind.

    Scores within [0, 1] on all of them are taken for probabilities (of a softmax or of sigmoids).

    :param pixel_range: what the network says of its input; what is configured goes before it.
    :raises ModelError: when it gives anything but one row of numbers.
    """
    low, high = job.pixel_range or pixel_range or DEFAULT_RANGE
    likely = True
    for _, pixels in sample_pixels(shape.dimensions, shape.layout, low, high):
        scores = run(pixels)
        if scores.size < 2 or scores.size != scores.shape[-1]:
            raise ModelError(
                f"{job.file}: its output has shape {_spell(scores.shape)}, not one score a class"
            )
        if not np.isfinite(scores).all():
            raise ModelError(f"{job.file}: its scores are not numbers: its weights are damaged")
        likely = likely and bool(scores.min() >= -1e-3 and scores.max() <= 1 + 1e-3)
    return scores.size, "probabilities" if likely else "logits"


def _frozen(job: FreezeJob) -> NetworkFacts:
    from incv3d.models.graphs import freeze_graphdef
    from incv3d.models.keras_models import freeze_keras
    from incv3d.models.pixel_ranges import range_of_first_layers
    from incv3d.models.saved_models import freeze_saved_model
    from incv3d.models.tracing import check_frozen, graph_run, settle_random

    freezers = {"graphdef": freeze_graphdef, "savedmodel": freeze_saved_model, "keras": freeze_keras}
    frozen = freezers[job.kind](job)
    check_frozen(frozen.graph, job)
    shape = frozen.shape
    graph = settle_random(frozen.graph, shape, job)
    pixel_range = frozen.pixel_range or range_of_first_layers(graph, shape)
    outputs, scores = try_out(job, graph_run(job, graph), shape, pixel_range)
    Path(job.network).write_bytes(graph.SerializeToString(deterministic=True))
    return NetworkFacts(
        input=f"{PIXELS}:0",
        output=f"{SCORES}:0",
        width=shape.width,
        height=shape.height,
        layout=shape.layout,
        outputs=outputs,
        scores=scores,
        pixel_range=pixel_range,
    )


def _flatbuffer(job: FreezeJob) -> NetworkFacts:
    from ai_edge_litert.interpreter import Interpreter

    from incv3d.sessions.litert import LiteRTSession

    try:
        interpreter = Interpreter(job.file)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        fed = _detail(inputs, choose(job, "input", [each["name"] for each in inputs]))
        fetched = _detail(outputs, choose(job, "output", [each["name"] for each in outputs]))
        shape = input_shape(job, fed["name"], [int(side) for side in fed["shape_signature"]])
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{job.file}: LiteRT cannot take it: {one_line(error)}") from None
    spec = SessionSpec(
        file=Path(job.file),
        format="tflite",
        input=fed["name"],
        output=fetched["name"],
        height=shape.height,
        width=shape.width,
        threads=1,
        layout=shape.layout,
    )
    pixel_range = _byte_range(fed)
    count, scores = try_out(job, LiteRTSession(spec).run, shape, pixel_range)
    shutil.copyfile(job.file, job.network)
    return NetworkFacts(
        input=fed["name"],
        output=fetched["name"],
        width=shape.width,
        height=shape.height,
        layout=shape.layout,
        outputs=count,
        scores=scores,
        pixel_range=pixel_range,
    )


def _detail(details: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in details if each["name"] == name)


def _byte_range(detail: dict[str, Any]) -> tuple[float, float] | None:
    """What the lowest and the highest value of an 8-bit input stand for."""
    dtype = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    if dtype.itemsize != 1 or not scale:
        return None
    limits = np.iinfo(dtype)
    return float((limits.min - zero_point) * scale), float((limits.max - zero_point) * scale)


def _spell(shape: Any) -> str:
    if shape is None:
        return "unknown"
    return "x".join("?" if side is None or side < 0 else str(side) for side in shape) or "()"


def one_line(error: Exception) -> str:
    """The message of a library's error, short enough for a log."""
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        freeze(msgspec.json.decode(sys.argv[1], type=FreezeJob))
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.exit(f"{failure.filename or 'the store'}: {failure.strerror}")
