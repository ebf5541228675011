"""Run a flatbuffer by one of LiteRT's two interfaces: its Interpreter, or its CompiledModel.

The Interpreter runs every network. The CompiledModel takes fewer types, but XNNPACK can map packed weights
from a file there.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from incv3d.engines.base import SessionError, SessionSpec
from incv3d.engines.quiet_stderr import mute_stderr_at_exit, quiet_stderr

MAPPABLE = (np.float32, np.int8, np.uint8)
"""Types of inputs and outputs that the CompiledModel runs."""
NO_PLUGINS = "/nonexistent"
"""Given for the folders of other accelerators' plugins; otherwise LiteRT searches for them."""

Details = dict[str, Any]
"""The Interpreter's description of a tensor: ``name``, ``index``, ``shape``, ``dtype``, ``quantization``."""


class NotMappable(SessionError):
    """The network cannot run with packed weights in a file."""


class Runner(Protocol):
    """A network that is loaded, with one input and one output."""

    output_shape: tuple[int, ...]

    def run(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return the output for the input's values, converted to its type by truncation.

        :raises ValueError, RuntimeError: LiteRT reports a failure.
        """


class InterpreterRunner:
    """An Interpreter with its tensors allocated.

    :param fed: the input tensor, resized already.
    :param fetched: the output tensor.
    :raises ValueError, RuntimeError: LiteRT cannot run the network.
    """

    def __init__(self, interpreter: Any, fed: Details, fetched: Details) -> None:
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        # Called for each use: the Interpreter refuses to run while an array over its memory exists.
        self._input = interpreter.tensor(fed["index"])
        self._output = interpreter.tensor(fetched["index"])
        self.output_shape = tuple(self._output().shape)

    def run(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return a copy of the output for the input's values."""
        np.copyto(self._input(), pixels, casting="unsafe")
        self._interpreter.invoke()
        found: npt.NDArray[Any] = self._output().copy()
        return found


@dataclass(slots=True)
class _Compiled:
    """LiteRT's objects, whose destructors write to stderr."""

    model: Any
    inputs: list[Any]
    outputs: list[Any]

    def free(self) -> None:
        """Destroy them without a word."""
        with quiet_stderr():
            self.inputs, self.outputs, self.model = [], [], None


class CompiledRunner:
    """A CompiledModel whose weights are mapped from a file.

    :param weights: XNNPACK's file; if it does not exist, XNNPACK creates it, and aborts the process if the
        disk is full.
    :param fed: the Interpreter's description of the input tensor; it must have its final shape.
    :raises NotMappable: the network has types that this interface does not take, or several signatures.
    :raises ValueError, RuntimeError: LiteRT cannot run the network.
    """

    def __init__(self, spec: SessionSpec, weights: Path, fed: Details, fetched: Details) -> None:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.environment import Environment, EnvironmentOptions
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuOptions, Options

        check_mappable(spec, fed, fetched)
        mute_stderr_at_exit()
        environment = Environment.create(options=EnvironmentOptions(NO_PLUGINS, NO_PLUGINS, NO_PLUGINS))
        cpu = CpuOptions(num_threads=spec.threads, xnnpack_weight_cache_path=str(weights))
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
        model = CompiledModel.from_file(str(spec.file), environment=environment, options=options)
        if model.get_num_signatures() > 1:
            raise NotMappable("it has several signatures")
        names = model.get_signature_by_index(0)
        outputs = model.get_output_tensor_details(names["key"])
        wanted = [name for name in names["outputs"] if outputs[name]["index"] == fetched["index"]]
        if not wanted:
            raise NotMappable("its signature does not have the output")
        self._output = names["outputs"].index(wanted[0])
        self._values = np.zeros(spec.input_shape, fed["dtype"])
        self._type = fetched["dtype"]
        self.output_shape = tuple(outputs[wanted[0]]["shape"])
        self._compiled = _Compiled(model, model.create_input_buffers(0), model.create_output_buffers(0))
        self.close = weakref.finalize(self, self._compiled.free)

    def run(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return the output for the input's values."""
        compiled = self._compiled
        np.copyto(self._values, pixels, casting="unsafe")
        compiled.inputs[0].write(self._values)
        compiled.model.run_by_index(0, compiled.inputs, compiled.outputs)
        size = int(np.prod(self.output_shape))
        found: npt.NDArray[Any] = compiled.outputs[self._output].read(size, self._type)
        return found.reshape(self.output_shape)


def check_mappable(spec: SessionSpec, fed: Details, fetched: Details) -> None:
    """Raise NotMappable if the CompiledModel does not take these tensors."""
    for tensor in (fed, fetched):
        if tensor["dtype"] not in MAPPABLE:
            raise NotMappable(f"`{tensor['name']}` is {np.dtype(tensor['dtype']).name}")
    if tuple(fed["shape"]) != spec.input_shape:
        raise NotMappable(f"the shape of `{fed['name']}` is open")
