"""Put a head on its base's flatbuffer: one network, which any program with LiteRT can run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from incv3d.engines.base import FEATURES
from incv3d.engines.litert import IDENTIFIER
from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically
from incv3d.models.flatbuffer.features import DAMAGED
from incv3d.models.taught.head import NEAREST, Head

if TYPE_CHECKING:
    from incv3d.models.graph.fold import Array

ALIGNMENT = 16
KIND = schema.BuiltinOperator
BOOL, FLOAT, INT = schema.TensorType.BOOL, schema.TensorType.FLOAT32, schema.TensorType.INT32


def write_with_head(network: Path, head: Head, out: Path) -> None:
    """Write the flatbuffer at `network` with `head` as its only output: each class, and then `unknown`.

    The scores are those of :meth:`Head.rank`: `unknown` is 0 if the features are familiar enough.

    :param network: one with its features as an output.
    :raises ModelError: it is damaged, or has no features.
    :raises OSError: a file cannot be read or written.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(network.read_bytes(), 0)
        graph = _Graph(model)
        _add(graph, head)
    except DAMAGED as error:
        raise ModelError(f"{network}: damaged: {error}") from None
    model.buffers = [_AlignedBuffer(each) for each in model.buffers]
    builder = flatbuffers.Builder(network.stat().st_size + 2**20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    write_atomically(out, bytes(builder.Output()))


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

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        named = {tensor.name: number for number, tensor in enumerate(self._graph.tensors)}
        if FEATURES.encode() not in named:
            raise ModelError("the base has no features that can be found")
        self._features = named[FEATURES.encode()]

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
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        kind = INT if value.dtype == np.int32 else FLOAT
        number = self._tensor(name, value.shape, kind)
        self._graph.tensors[number].buffer = len(self._model.buffers) - 1
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
        self._graph.outputs = np.array([output], np.int32)
        for each in self._model.signatureDefs or ():
            named = schema.TensorMapT()
            named.name, named.tensorIndex = b"scores", output
            each.outputs = [named]

    def _tensor(self, name: str, shape: Sequence[int], kind: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
        tensor.type, tensor.buffer = kind, 0  # the first buffer is empty
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _operator(self, code: int, inputs: Sequence[int], outputs: Sequence[int], options: Any) -> None:
        codes = self._model.operatorCodes
        known = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in codes]
        if code not in known:
            added = schema.OperatorCodeT()
            added.builtinCode, added.deprecatedBuiltinCode, added.version = code, min(code, 127), 1
            codes.append(added)
            known.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = known.index(code)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._graph.operators.append(operator)


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc] # the library has no types
    """A buffer whose data is aligned as LiteRT wants it."""

    def __init__(self, other: Any) -> None:
        super().__init__()
        self.data = other.data

    def Pack(self, builder: Any) -> Any:
        """Add the table and its data."""
        place = None
        if self.data is not None and len(self.data):
            data = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(data), ALIGNMENT)
            builder.head = builder.Head() - len(data)
            builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
            place = builder.EndVector()
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return schema.BufferEnd(builder)
