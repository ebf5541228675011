"""Write a frozen GraphDef node by node, without TensorFlow.

Field numbers are those of graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto
in tensorflow/core/framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

import numpy as np

from incv3d.models.graph.fold import DT_FLOAT, Array
from incv3d.models.graph.graphdef_reader import LENGTH, VARINT

DT_INT32 = 3
PRODUCER = 27
"""The version of the operations (``TF_GRAPH_DEF_VERSION``); all that are written here are older."""
TYPES = {np.dtype(np.float32): DT_FLOAT, np.dtype(np.int32): DT_INT32}


class GraphDefWriter:
    """Writes nodes to a file. A node is named by the caller, and used by its name."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.write(_message(4, _number(1, PRODUCER)))

    def placeholder(self, name: str, shape: Sequence[int]) -> str:
        """Write the node that is fed with float32 of that shape; return its name."""
        attributes = _attribute("dtype", _number(6, DT_FLOAT)) + _attribute(
            "shape", _message(7, _shape(shape))
        )
        return self._write(name, "Placeholder", (), attributes)

    def constant(self, name: str, value: Array) -> str:
        """Write a constant of float32 or int32; return its name."""
        dtype = TYPES[value.dtype]
        content = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
        tensor = _number(1, dtype) + _message(2, _shape(value.shape)) + _message(4, content)
        attributes = _attribute("dtype", _number(6, dtype)) + _attribute("value", _message(8, tensor))
        return self._write(name, "Const", (), attributes)

    def node(self, name: str, op: str, *inputs: str, **attributes: bytes | bool | Sequence[int]) -> str:
        """Write a node that computes with float32; return its name.

        :param attributes: texts, truth values and lists of integers, by name.
        """
        encoded = [_attribute("T", _number(6, DT_FLOAT))]
        for key, value in attributes.items():
            if isinstance(value, bytes):
                encoded.append(_attribute(key, _message(2, value)))
            elif isinstance(value, bool):
                encoded.append(_attribute(key, _number(5, int(value))))
            else:
                packed = b"".join(map(_varint, value))
                encoded.append(_attribute(key, _message(1, _message(3, packed))))
        return self._write(name, op, inputs, b"".join(encoded))

    def _write(self, name: str, op: str, inputs: Sequence[str], attributes: bytes) -> str:
        head = _message(1, name.encode()) + _message(2, op.encode())
        self._file.write(
            _message(1, head + b"".join(_message(3, each.encode()) for each in inputs) + attributes)
        )
        return name


def _attribute(key: str, value: bytes) -> bytes:
    return _message(5, _message(1, key.encode()) + _message(2, value))


def _shape(sides: Sequence[int]) -> bytes:
    return b"".join(_message(2, _number(1, side)) for side in sides)


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | LENGTH) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
