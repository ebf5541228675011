"""Run a flatbuffer by one of LiteRT's two interfaces: its Interpreter, or its compiled model.

The Interpreter runs every network. The compiled model takes fewer types, but XNNPACK can map packed weights
from a file there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from incv3d.engines.base import SessionSpec
from incv3d.engines.litert_c import MappedNetwork, NotMappable

MAPPABLE = (np.float32, np.int8, np.uint8)
"""Types of inputs and outputs that the compiled model runs."""

Details = dict[str, Any]
"""The Interpreter's description of a tensor: ``name``, ``index``, ``shape``, ``dtype``, ``quantization``."""


class Runner(Protocol):
    """A network that is loaded, with one input and one or several outputs to fetch."""

    shapes: list[tuple[int, ...]]
    """The shapes of the fetched outputs."""

    def run(self, pixels: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        """Return the outputs for the input's values, converted to its type by truncation.

        :raises ValueError, RuntimeError: LiteRT reports a failure.
        """


class InterpreterRunner:
    """An Interpreter with its tensors allocated.

    :param fed: the input tensor, resized already.
    :param fetched: the output tensors.
    :raises ValueError, RuntimeError: LiteRT cannot run the network.
    """

    def __init__(self, interpreter: Any, fed: Details, fetched: Sequence[Details]) -> None:
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        # Called for each use: the Interpreter refuses to run while an array over its memory exists.
        self._input = interpreter.tensor(fed["index"])
        self._outputs = [interpreter.tensor(each["index"]) for each in fetched]
        self.shapes = [tuple(output().shape) for output in self._outputs]

    def run(self, pixels: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        """Return copies of the outputs for the input's values."""
        np.copyto(self._input(), pixels, casting="unsafe")
        self._interpreter.invoke()
        return [output().copy() for output in self._outputs]


class MappedRunner:
    """A network whose weights are mapped from a file.

    :param weights: XNNPACK's file; if it does not exist, XNNPACK creates it, and aborts the process if the
        disk is full.
    :param fed: the Interpreter's description of the input tensor; it must have its final shape.
    :raises NotMappable: the network has types that this interface does not take.
    :raises SessionError: LiteRT cannot run the network so.
    """

    def __init__(self, spec: SessionSpec, weights: Path, fed: Details, fetched: Sequence[Details]) -> None:
        check_mappable(spec, fed, fetched)
        self._network = MappedNetwork(spec.file, weights, spec.threads, [each["index"] for each in fetched])
        self._values = np.zeros(spec.input_shape, fed["dtype"])
        self._types = [each["dtype"] for each in fetched]
        self.shapes = self._network.shapes

    def run(self, pixels: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        """Return the outputs for the input's values."""
        np.copyto(self._values, pixels, casting="unsafe")
        return self._network.run(self._values, self._types)


def check_mappable(spec: SessionSpec, fed: Details, fetched: Sequence[Details]) -> None:
    """Raise NotMappable if the compiled model does not take these tensors."""
    for tensor in (fed, *fetched):
        if tensor["dtype"] not in MAPPABLE:
            raise NotMappable(f"`{tensor['name']}` is {np.dtype(tensor['dtype']).name}")
    if tuple(fed["shape"]) != spec.input_shape:
        raise NotMappable(f"the shape of `{fed['name']}` is open")
