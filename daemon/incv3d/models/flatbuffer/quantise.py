"""Quantize a float32 flatbuffer to 8 bits: ``python -m incv3d.models.flatbuffer.quantise JOB``.

The ranges of the activations come from :mod:`incv3d.models.flatbuffer.activation_ranges`, the quantized
flatbuffer from ai-edge-quantizer. That library's own calibrator is not used: it keeps several copies of the
network and all activations. Weights get one scale per filter, activations one per tensor; the input, the last
layer with weights and everything after it stay float, so that scores are finer than the 256 steps of 8 bits.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from incv3d.child_process import decode, report_failures
from incv3d.engines.base import FEATURES, Pixels
from incv3d.errors import QUANTIZER, one_line, pip_install
from incv3d.machine import trim_heap
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.activation_ranges import activation_ranges
from incv3d.models.flatbuffer.features import mark_features
from incv3d.models.flatbuffer.quantisation_limits import Filters, limit_scales
from incv3d.models.graph.pixel_file import PixelFile

PACKAGE = "ai-edge-quantizer"
MODULE = "ai_edge_quantizer"
AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""The operations with weights, and the axis of these along which each filter has its own scale."""
LIBRARY_ERRORS = (ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What the quantizer raises for networks that it does not support, and for damaged ones."""


class QuantiseJob(msgspec.Struct, frozen=True, kw_only=True):
    """A float flatbuffer to quantize, passed to the child process as JSON."""

    network: str
    pixels: str
    """A :class:`PixelFile`."""
    images: tuple[int, ...]
    """The images in it to use for calibration."""
    input_shape: tuple[int, ...]
    threads: int
    out: str


def quantise(job: QuantiseJob) -> None:
    """Quantize the flatbuffer and write it to the file ``job.out``.

    :raises ModelError: it cannot be quantized, or the library is missing.
    """
    check_library()
    network = _read(Path(job.network))
    graph = network.subgraphs[0]
    produced = {int(graph.inputs[0]), *(int(out) for each in graph.operators for out in each.outputs)}
    names = {number: _name(graph.tensors[number]) for number in sorted(produced) if _is_float(graph, number)}
    ranges = activation_ranges(Path(job.network), names, _examples(job), job.threads)
    trim_heap()  # the interpreter's memory, before more is allocated: the peak counts
    try:
        quantised = _quantise(network, ranges)
    except LIBRARY_ERRORS as error:
        raise ModelError(f"cannot be quantized: {one_line(error)}") from None
    except ImportError as error:
        raise ModelError(
            f"{PACKAGE} cannot be imported ({one_line(error)}): {pip_install(*QUANTIZER)}"
        ) from None
    Path(job.out).write_bytes(quantised)
    mark_features(Path(job.out))


def quantiser_name() -> str:
    """Return the name of the quantizer, and its version."""
    return f"{PACKAGE}-{version(PACKAGE)}"


def needed_mb(network_mb: float) -> float:
    """Return the peak memory of quantizing, measured, rounded up, with networks of 18 and 85 MiB."""
    return 90 + 2.2 * network_mb


def check_library() -> None:
    """Raise ModelError if the quantizer is not installed."""
    if find_spec(MODULE) is None:
        raise ModelError(
            f"int8 needs {PACKAGE}, which is not installed; install it: {pip_install(*QUANTIZER)}"
        )


def _read(path: Path) -> Any:
    """Return the flatbuffer as an object whose weights are views of the mapped file."""
    from ai_edge_litert.tools import flatbuffer_utils, mmap_utils

    try:
        network = flatbuffer_utils.read_model_from_bytearray(mmap_utils.get_file_contents(str(path)))
        graphs = network.subgraphs
        quantised = any(_has_scale(each) for each in graphs[0].tensors)
    except (*LIBRARY_ERRORS, struct.error) as error:
        raise ModelError(f"{path}: damaged: {one_line(error)}") from None
    if quantised:
        raise ModelError(f"{path}: is quantized already")
    if len(graphs) != 1 or len(graphs[0].inputs) != 1:
        raise ModelError(f"{path}: cannot be quantized: it must be one graph with one input")
    _drop_features(network)
    _make_names_unique(graphs[0])
    return network


def _quantise(network: Any, ranges: dict[str, tuple[float, float]]) -> bytearray:
    # The library imports SciPy for an algorithm that is not used here. That would take memory and time, and
    # its OpenBLAS repeats an allocation forever that a limit of memory denies.
    for name in ("scipy", "scipy.linalg"):
        sys.modules.setdefault(name, ModuleType(name))
    from ai_edge_quantizer import model_modifier, params_generator, recipe, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName

    graph = network.subgraphs[0]
    kinds = _kinds(network)
    last = max((n for n, kind in enumerate(kinds) if kind in AXES), default=len(kinds))
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    kept = [TFLOperationName.INPUT, TFLOperationName.OUTPUT, TFLOperationName.SOFTMAX]
    for operation in kept:
        rules.add_quantization_config(".*", operation, None, "no_quantize")
    for each in graph.operators[last:]:
        # The library matches the names of the outputs, each followed by a semicolon.
        scope = "".join(f"{_name(graph.tensors[number])};" for number in each.outputs)
        rules.add_quantization_config(
            f"^{re.escape(scope)}$", TFLOperationName.ALL_SUPPORTED, None, "no_quantize"
        )
    layers = _layers(network, kinds[:last])
    # An integer that overflows is an error, not a wrong network.
    with np.errstate(invalid="raise"):
        parameters = params_generator.ParamsGenerator(network).generate_quantization_parameters(
            rules, limit_scales(ranges, layers), enable_progress_bar=False
        )
    modifier = model_modifier.ModelModifier(network)
    return bytearray(modifier.modify_model(parameters, enable_progress_bar=False))


def _layers(network: Any, kinds: list[str]) -> Iterator[Filters]:
    """Yield the layers with weights among the first operations."""
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    graph = network.subgraphs[0]
    for kind, operation in zip(kinds, graph.operators, strict=False):
        if kind not in AXES:
            continue
        tensors = [graph.tensors[number] for number in operation.inputs if number >= 0]
        values = [tfl_flatbuffer_utils.get_tensor_data(tensor, network.buffers) for tensor in tensors]
        if values[1] is None:
            continue  # the product of two activations
        yield Filters(
            name=_name(tensors[1]),
            input=_name(tensors[0]),
            output=_name(graph.tensors[operation.outputs[0]]),
            weights=values[1],
            axis=AXES[kind],
            bias=values[2] if len(values) > 2 else None,
        )


def _kinds(network: Any) -> list[str]:
    """Return the name of each operation's kind, in the order in which they run; empty for one that the
    quantizer leaves alone."""
    from ai_edge_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME

    codes = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in network.operatorCodes]
    kinds = (TFL_OP_CODE_TO_NAME.get(codes[each.opcodeIndex]) for each in network.subgraphs[0].operators)
    return [kind.value if kind else "" for kind in kinds]


def _drop_features(network: Any) -> None:
    """Make the scores the only output again: the quantizer knows nothing of features."""
    graph = network.subgraphs[0]
    features = [each for each in graph.outputs if _name(graph.tensors[each]) == FEATURES]
    graph.outputs = [each for each in graph.outputs if each not in features]
    for signature in network.signatureDefs or []:
        signature.outputs = [each for each in signature.outputs if each.tensorIndex not in features]
    for number in features:
        graph.tensors[number].name = b"features"


def _make_names_unique(graph: Any) -> None:
    """Add a number to names that occur twice: the quantizer knows tensors by their names."""
    seen: set[bytes] = set()
    for number, tensor in enumerate(graph.tensors):
        if not tensor.name or tensor.name in seen:
            tensor.name = (tensor.name or b"") + f"#{number}".encode()
        seen.add(tensor.name)


def _name(tensor: Any) -> str:
    return str(tensor.name.decode("utf-8"))


def _has_scale(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _is_float(graph: Any, number: int) -> bool:
    from ai_edge_litert.schema_py_generated import TensorType

    return bool(graph.tensors[number].type == TensorType.FLOAT32)


def _examples(job: QuantiseJob) -> Iterator[Pixels]:
    pixels = PixelFile(Path(job.pixels), job.input_shape)
    for number, image in enumerate(job.images, start=1):
        yield pixels.read(image)
        print(f"{number}/{len(job.images)}", flush=True)  # noqa: T201 - the parent process reads it


if __name__ == "__main__":
    with report_failures():
        quantise(decode(sys.argv[1], QuantiseJob))
