"""Put a linear classifier of features on a flatbuffer, in place of its own last layer.

The weights of the network are written from the mapped file, one at a time.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from incv3d.engines.base import FEATURES
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.features import DAMAGED
from incv3d.models.flatbuffer.writer import operator_code, signature, write_model

Floats = npt.NDArray[np.float32]


def append_head(network: Path, weights: Floats, bias: Floats, path: Path) -> None:
    """Write the flatbuffer at `network` with another last layer to the file at `path`.

    Its scores are ``softmax(weights @ normalized + bias)``, with the features normalized to a length of 1.

    :param network: has its features as an output (:func:`mark_features`).
    :param weights: ``(classes, features)``.
    :raises ModelError: it is damaged, or does not have so many features.
    :raises OSError: a file cannot be read or written.
    """
    with network.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        graph = model.subgraphs[0]
        found = [int(each) for each in graph.outputs if graph.tensors[each].name == FEATURES.encode()]
    except DAMAGED as error:
        raise ModelError(f"{network}: damaged: {error}") from None
    if not found:
        raise ModelError(f"{network}: has no layer of features that can be found")
    made = _Extension(model, [_content(each, data) for each in model.buffers], found[0])
    made.add_head(weights, bias)
    write_model(path, model, made.used_buffers())


class _Extension:
    """A network that is cut after its features and continued."""

    def __init__(self, model: Any, buffers: list[Any], features: int) -> None:
        self._model, self._graph, self._buffers = model, model.subgraphs[0], buffers
        self._last = features
        self._graph.operators = _needed(self._graph, features)

    def add_head(self, weights: Floats, bias: Floats) -> None:
        """Add the operators from the features to the scores, the only output."""
        kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
        tensor, classes = self._graph.tensors[self._last], len(bias)
        shape = [int(side) for side in tensor.shape]
        if weights.shape != (classes, int(np.prod(shape))):
            raise ModelError(f"the network has {int(np.prod(shape))} features, the head {weights.shape[1]}")
        if tensor.type != schema.TensorType.FLOAT32:
            self._add(
                kinds.DEQUANTIZE, [self._last], shape, options.DequantizeOptions, schema.DequantizeOptionsT()
            )
        self._add(kinds.L2_NORMALIZATION, [self._last], shape, options.L2NormOptions, schema.L2NormOptionsT())
        taken = [self._last, self._constant(weights), self._constant(bias)]
        dense = schema.FullyConnectedOptionsT()
        self._add(kinds.FULLY_CONNECTED, taken, [1, classes], options.FullyConnectedOptions, dense)
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        self._add(kinds.SOFTMAX, [self._last], [1, classes], options.SoftmaxOptions, softmax)
        self._graph.outputs = [self._last]
        self._model.signatureDefs = [signature(int(self._graph.inputs[0]), self._last)]
        self._model.metadata, self._model.metadataBuffer = [], None

    def used_buffers(self) -> list[Any]:
        """Return the data of all buffers; None for those that nothing uses now."""
        named = {
            int(each) for operator in self._graph.operators for each in (*operator.inputs, *operator.outputs)
        }
        used = {self._graph.tensors[each].buffer for each in named if each >= 0}
        for number, tensor in enumerate(self._graph.tensors):
            if number not in named:
                tensor.buffer = 0
        return [each if number in used else None for number, each in enumerate(self._buffers)]

    def _add(self, kind: int, inputs: Sequence[int], shape: Sequence[int], type_: int, options: Any) -> None:
        operator = schema.OperatorT()
        self._model.operatorCodes.append(operator_code(kind))
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.builtinOptionsType, operator.builtinOptions = type_, options
        self._last = self._tensor(f"head/{len(self._graph.tensors)}", shape)
        operator.inputs, operator.outputs = list(inputs), [self._last]
        self._graph.operators.append(operator)

    def _constant(self, value: Floats) -> int:
        number = self._tensor(f"head/{len(self._graph.tensors)}", value.shape)
        self._buffers.append(value)
        self._graph.tensors[number].buffer = len(self._buffers) - 1
        return number

    def _tensor(self, name: str, shape: Sequence[int]) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), 0
        tensor.type = schema.TensorType.FLOAT32
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def _content(buffer: Any, data: mmap.mmap) -> Any:
    """Return the data of a buffer, which may lie after the flatbuffer; None: it is empty."""
    if buffer.offset > 1:  # as the quantizer writes it
        return np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
    return buffer.data


def _needed(graph: Any, wanted: int) -> list[Any]:
    """Return the operators from which a tensor is computed, in their order."""
    tensors, kept = {wanted}, []
    for operator in reversed(graph.operators):
        if tensors.intersection(int(each) for each in operator.outputs):
            kept.append(operator)
            tensors.update(int(each) for each in operator.inputs)
    return kept[::-1]
