"""Write a LiteRT flatbuffer whose weights are written one at a time.

The library's builder would hold the whole file in memory twice. Here it makes only the head: tables of
tensors, operators and buffers, in which each buffer's data is the offset of a vector that follows the head.
The format is ``schema.fbs`` in tensorflow/lite/schema; the data of a buffer is aligned to 16 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from incv3d.engines.litert import IDENTIFIER
from incv3d.models.graph.fold import Array
from incv3d.models.graph.plain_graph import UnsupportedOperation

ALIGNMENT = 16
LARGEST_BYTES = 2**31 - 1
"""Offsets in a flatbuffer are limited to this."""
SCHEMA_VERSION = 3
SIGNATURE = "serving_default"
PIXELS, SCORES = "pixels", "scores"
"""The names of the input and of the output in the signature."""
TENSOR_TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
}
MOST_DEPRECATED = 127
"""The largest code of an operation that fits into the first version of that field."""


class _LaterBuffer(schema.BufferT):  # type: ignore[misc] # the library has no types
    """A buffer whose data follows the head; its offset is filled in when the head is complete."""

    def Pack(self, builder: Any) -> Any:
        """Add the table, with a number in place of the offset."""
        schema.BufferStart(builder)
        builder.PrependUint32Slot(0, 1, 0)
        return schema.BufferEnd(builder)


class NetworkWriter:
    """Collects the tensors and operators of a network, and writes the flatbuffer."""

    def __init__(self) -> None:
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._codes: list[int] = []
        self._data: list[Array] = []

    def tensor(self, name: str, shape: Sequence[int], dtype: type[np.generic] = np.float32) -> int:
        """Add a tensor that is computed, and return its number."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), [int(side) for side in shape]
        tensor.type = TENSOR_TYPES[np.dtype(dtype)]
        tensor.buffer = 0  # the first buffer is empty
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, value: Array) -> int:
        """Add a tensor with a value, float32 or int32, and return its number.

        A view is made contiguous only when it is written.
        """
        number = self.tensor(name, value.shape, value.dtype.type)
        self._data.append(value)
        self._graph.tensors[number].buffer = len(self._data)
        return number

    def operator(
        self, code: int, inputs: Sequence[int], output: int, options_type: int = 0, options: Any = None
    ) -> None:
        """Add an operator after those that it depends on.

        :param code: its number in ``BuiltinOperator``.
        :param options: its options table, whose type is `options_type` in ``BuiltinOptions``.
        """
        operator = schema.OperatorT()
        if code not in self._codes:
            self._codes.append(code)
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs, operator.outputs = list(inputs), [output]
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self._graph.operators.append(operator)

    def write(self, path: Path, fed: int, fetched: int) -> None:
        """Write the flatbuffer with tensor `fed` as its input and `fetched` as its output.

        :raises UnsupportedOperation: it would be too large for the format.
        :raises OSError: the file cannot be written.
        """
        graph, model = self._graph, schema.ModelT()
        graph.inputs, graph.outputs = [fed], [fetched]
        model.subgraphs, model.operatorCodes = [graph], [operator_code(each) for each in self._codes]
        model.signatureDefs = [signature(fed, fetched)]
        write_model(path, model, [None, *self._data])


def write_model(path: Path, model: Any, data: Sequence[Array | None]) -> None:
    """Write a model to the file at `path`, whose buffers hold `data`; None: an empty one.

    :raises UnsupportedOperation: it would be too large for the format.
    :raises OSError: the file cannot be written.
    """
    head, places = _head(model, data)
    values = [each for each in data if each is not None]
    position = len(head)
    for place, value in zip(places, values, strict=True):
        position = _aligned(position + 4) - 4  # the data's length comes first
        struct.pack_into("<I", head, place, position - place)
        position += 4 + value.nbytes
    if position > LARGEST_BYTES:
        raise UnsupportedOperation(f"not supported: the flatbuffer would have {position / 1e9:.1f} GB")
    with path.open("wb") as file:
        file.write(head)
        for value in values:
            file.write(b"\0" * (_aligned(file.tell() + 4) - 4 - file.tell()))
            file.write(struct.pack("<I", value.nbytes))
            file.write(np.ascontiguousarray(value).data)


def _head(model: Any, data: Sequence[Array | None]) -> tuple[bytearray, list[int]]:
    """Return the head, and the places in it of the offsets of the buffers' data."""
    model.version, model.description = SCHEMA_VERSION, b"made by incv3d"
    model.buffers = [schema.BufferT() if each is None else _LaterBuffer() for each in data]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    head = bytearray(builder.Output())
    made = schema.Model.GetRootAs(head, 0)
    tables = [made.Buffers(number)._tab for number, each in enumerate(data) if each is not None]
    return head, [table.Pos + table.Offset(4) for table in tables]


def signature(fed: int, fetched: int) -> Any:
    """Return the signature of a network from tensor `fed` to tensor `fetched`."""
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = SIGNATURE.encode(), 0
    made.inputs, made.outputs = [_named(PIXELS, fed)], [_named(SCORES, fetched)]
    return made


def operator_code(code: int) -> Any:
    """Return the entry of a network's table of operations."""
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, MOST_DEPRECATED), 1
    return made


def _named(name: str, tensor: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), tensor
    return made


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
