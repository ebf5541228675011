"""Put a head on its base's flatbuffer: one network, which any program with LiteRT can run."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from incv3d.engines.base import FEATURES
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.features import DAMAGED
from incv3d.models.flatbuffer.writer import operator_code, signature, write_model
from incv3d.models.taught.head import NEAREST, Head

if TYPE_CHECKING:
    from incv3d.models.graph.fold import Array

KIND = schema.BuiltinOperator
BOOL, FLOAT, INT = schema.TensorType.BOOL, schema.TensorType.FLOAT32, schema.TensorType.INT32


def write_with_head(network: Path, head: Head, out: Path) -> None:
    """Write the flatbuffer at `network` with `head` as its only output: each class, and then `unknown`.

    The scores are those of :meth:`Head.rank`: `unknown` is 0 if the features are familiar enough.

    The weights of the network are written from the mapped file, one at a time.

    :param network: one with its features as an output.
    :raises ModelError: it is damaged, or has no features.
    :raises OSError: a file cannot be read or written.
    """
    with network.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
    try:
        graph = _Graph(schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)), data)
        _add(graph, head)
    except DAMAGED as error:
        raise ModelError(f"{network}: damaged: {error}") from None
    write_model(out, graph.model, graph.used_buffers())


def _add(graph: _Graph, head: Head) -> None:
    """Add the operations of :meth:`Head.rank`."""
    unit = graph.normalized(head.length)
    weights = np.ascontiguousarray(head.weights.T)
    bias = head.bias - head.center @ head.weights
    logits = graph.dense("logits", unit, weights, bias)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    chances = graph.operate("chances", KIND.SOFTMAX, [logits], [1, len(bias)], softmax)
    cosines = graph.dense("cosines", unit, head.gallery, np.zeros(len(head.gallery), np.float32))
    familiar = graph.mean_of_largest(cosines, min(NEAREST, len(head.gallery)))
    # how far below the threshold, in spreads
    scale = np.float32(1 / head.spread)
    below = graph.dense(
        "below", familiar, np.array([[-scale]], np.float32), np.array([head.threshold * scale])
    )
    chance = graph.operate("strange", KIND.LOGISTIC, [below], [1, 1])
    threshold = graph.constant("threshold", np.array([[head.threshold]], np.float32))
    is_below = graph.operate(
        "is_below", KIND.LESS, [familiar, threshold], [1, 1], kind=schema.TensorType.BOOL
    )
    mask = graph.operate("mask", KIND.CAST, [is_below], [1, 1], schema.CastOptionsT())
    unknown = graph.operate("unknown", KIND.MUL, [chance, mask], [1, 1], schema.MulOptionsT())
    known = graph.dense("known", unknown, np.array([[-1.0]], np.float32), np.array([1.0]))
    shares = graph.operate("shares", KIND.MUL, [chances, known], [1, len(bias)], schema.MulOptionsT())
    joined = schema.ConcatenationOptionsT()
    joined.axis = 1
    scores = graph.operate(
        "taught_scores",
        KIND.CONCATENATION,
        [shares, unknown],
        [1, len(bias) + 1],
        joined,
    )
    graph.finish(scores)


class _Graph:
    """The first subgraph of a model, to which operations are added at the end."""

    def __init__(self, model: Any, data: mmap.mmap) -> None:
        self.model = model
        self._buffers = [_content(each, data) for each in model.buffers]
        self._graph = model.subgraphs[0]
        named = {tensor.name: number for number, tensor in enumerate(self._graph.tensors)}
        if FEATURES.encode() not in named:
            raise ModelError("the base has no features that can be found")
        self._features = named[FEATURES.encode()]
        self._graph.operators = _needed(self._graph, self._features)

    def normalized(self, length: int) -> int:
        """Return the tensor of the features with a length of 1, ``(1, length)`` float32."""
        found = self._features
        tensor = self._graph.tensors[found]
        shape = [int(each) for each in tensor.shape]
        if tensor.type != FLOAT:
            found = self.operate("features_float", KIND.DEQUANTIZE, [found], shape)
        if shape != [1, length]:
            flat = self.constant("features_shape", np.array([1, length], np.int32))
            options = schema.ReshapeOptionsT()
            options.newShape = np.array([1, length], np.int32)
            found = self.operate("features_flat", KIND.RESHAPE, [found, flat], [1, length], options)
        return self.operate(
            "unit",
            KIND.L2_NORMALIZATION,
            [found],
            [1, length],
            schema.L2NormOptionsT(),
        )

    def dense(self, name: str, taken: int, weights: Array, bias: Array) -> int:
        """Add a layer: `weights` is ``(out, in)``."""
        inputs = [
            taken,
            self.constant(f"{name}_weights", weights),
            self.constant(f"{name}_bias", bias.astype(np.float32)),
        ]
        return self.operate(
            name,
            KIND.FULLY_CONNECTED,
            inputs,
            [1, len(bias)],
            schema.FullyConnectedOptionsT(),
        )

    def mean_of_largest(self, taken: int, count: int) -> int:
        """Add the mean of the `count` largest numbers."""
        values = self._tensor("nearest", [1, count], FLOAT)
        places = self._tensor("nearest_places", [1, count], INT)
        number = self.constant("nearest_count", np.array(count, np.int32))
        self._operator(KIND.TOPK_V2, [taken, number], [values, places], schema.TopKV2OptionsT())
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axis = self.constant("nearest_axis", np.array([1], np.int32))
        return self.operate("familiar", KIND.MEAN, [values, axis], [1, 1], options)

    def constant(self, name: str, value: Array) -> int:
        """Add a tensor with a value, float32 or int32."""
        self._buffers.append(value)
        kind = INT if value.dtype == np.int32 else FLOAT
        number = self._tensor(name, value.shape, kind)
        self._graph.tensors[number].buffer = len(self._buffers) - 1
        return number

    def operate(
        self,
        name: str,
        code: int,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: Any = None,
        kind: int = FLOAT,
    ) -> int:
        """Add an operation, and return its result."""
        made = self._tensor(name, shape, kind)
        self._operator(code, inputs, [made], options)
        return made

    def finish(self, output: int) -> None:
        """Make this tensor the only output."""
        self._graph.outputs = [output]
        self.model.signatureDefs = [signature(int(self._graph.inputs[0]), output)]
        self.model.metadata, self.model.metadataBuffer = [], None

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

    def _tensor(self, name: str, shape: Sequence[int], kind: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
        tensor.type, tensor.buffer = kind, 0  # the first buffer is empty
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _operator(self, code: int, inputs: Sequence[int], outputs: Sequence[int], options: Any) -> None:
        codes = self.model.operatorCodes
        known = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in codes]
        if code not in known:
            codes.append(operator_code(code))
            known.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = known.index(code)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._graph.operators.append(operator)


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
