"""Read a frozen GraphDef with its attributes and weights, and write one, without TensorFlow.

The weights are views of the mapped file: the kernel reads them when they are used, and can drop them again.
The nodes offer what :class:`incv3d.models.graph.fold.GraphFolder` uses of TensorFlow's ``NodeDef``. Field
numbers are those of graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto in
tensorflow/core/framework.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from incv3d.models.entry import ModelError
from incv3d.models.graph.fold import Array
from incv3d.models.graph.graphdef_reader import FIXED32, LENGTH, VARINT, Buffer, fields, varint

TYPES: dict[int, type[np.generic]] = {
    1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_, 19: np.float16,
}  # fmt: skip
"""The types of constants that are read, by their number in types.proto."""
CONTENT, SHAPE = 4, 2
FLOATS = {5: "<f4", 6: "<f8"}
"""Fields of a TensorProto that list numbers of a fixed width, and their type."""
VARINTS = frozenset((7, 10, 11, 13))
"""Fields of a TensorProto that list integers, truth values, or the bits of half-precision numbers."""
HALVES = 13
MOST_REPEATED = 2**28
"""The most values that one may stand for: a damaged shape must not fill the memory."""


class UnsupportedOperation(ModelError):
    """A graph has an operation, or a form of one, that only TensorFlow runs and converts."""


@dataclass(slots=True)
class AttributeList:
    """The values of an attribute that is a list."""

    i: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Attribute:
    """One attribute of a node. Its fields are named as in ``AttrValue``; unset ones are empty."""

    s: bytes = b""
    i: int = 0
    f: float = 0.0
    b: bool = False
    type: int = 0
    list: AttributeList = field(default_factory=AttributeList)


def _no_attributes() -> defaultdict[str, Attribute]:
    return defaultdict(Attribute)


@dataclass(slots=True)
class PlainNode:
    """One node of a graph; its fields are named as in ``NodeDef``."""

    name: str = ""
    op: str = ""
    input: list[str] = field(default_factory=list)
    attr: defaultdict[str, Attribute] = field(default_factory=_no_attributes)

    def Clear(self) -> None:
        """Remove all fields."""
        self.name = self.op = ""
        self.input = []
        self.attr = _no_attributes()


@dataclass(frozen=True, slots=True)
class PlainGraph:
    """A graph, with the values of its constants by the name of their node."""

    nodes: dict[str, PlainNode]
    weights: dict[str, Array]
    """Read-only views of the mapped file, perhaps unaligned. Constants of other types are missing."""
    file: mmap.mmap

    def release(self) -> None:
        """Release the memory of the mapped file; what is needed again is read again."""
        self.file.madvise(mmap.MADV_DONTNEED)


def read_graph(path: Path) -> PlainGraph:
    """Return the graph in the file at `path`.

    :raises ModelError: the file cannot be read, or is not a GraphDef.
    """
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise ModelError(f"{path}: the file is empty")
            # Not closed: the weights are views of it.
            return _parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, struct.error) as error:
        raise ModelError(f"{path}: not a frozen GraphDef: {error}") from None


def _parse(data: mmap.mmap) -> PlainGraph:
    graph = PlainGraph({}, {}, data)
    for number, kind, start, end in fields(data, 0, len(data)):
        if number == 1 and kind == LENGTH:
            node, value = _node(data, start, end)
            graph.nodes[node.name] = node
            if value is not None:
                graph.weights[node.name] = value
    if not graph.nodes:
        raise ValueError("it has no nodes")
    return graph


def _node(data: Buffer, start: int, end: int) -> tuple[PlainNode, Array | None]:
    node = PlainNode()
    value: Array | None = None
    for number, kind, first, last in fields(data, start, end):
        if kind != LENGTH:
            continue
        if number == 1:
            node.name = data[first:last].decode("utf-8")
        elif number == 2:
            node.op = data[first:last].decode("utf-8")
        elif number == 3:
            node.input.append(data[first:last].decode("utf-8"))
        elif number == 5:
            found = _attribute(data, first, last, node.attr)
            value = value if found is None else found
    return node, value


def _attribute(data: Buffer, start: int, end: int, attributes: dict[str, Attribute]) -> Array | None:
    """Add an entry of a node's map of attributes; return the value if it is a tensor."""
    key, value, tensor = "", Attribute(), None
    for number, kind, first, last in fields(data, start, end):
        if number == 1 and kind == LENGTH:
            key = data[first:last].decode("utf-8")
        elif number == 2 and kind == LENGTH:
            for inner, form, begin, stop in fields(data, first, last):
                if inner == 8 and form == LENGTH:
                    tensor = _tensor(data, begin, stop)
                else:
                    _set_value(value, data, inner, form, begin, stop)
    attributes[key] = value
    return tensor if key == "value" else None


def _set_value(value: Attribute, data: Buffer, number: int, kind: int, start: int, end: int) -> None:
    if kind == LENGTH and number == 2:
        value.s = bytes(data[start:end])
    elif kind == LENGTH and number == 1:
        for inner, form, first, last in fields(data, start, end):
            if inner == 3 and form in (LENGTH, VARINT):
                value.list.i.extend(_integers(data, first, last).tolist())
    elif kind == FIXED32 and number == 4:
        (value.f,) = struct.unpack("<f", data[start:end])
    elif kind == VARINT and number in (3, 5, 6):
        found = int(_integers(data, start, end)[0])
        if number == 3:
            value.i = found
        elif number == 5:
            value.b = bool(found)
        else:
            value.type = found


def _tensor(data: Buffer, start: int, end: int) -> Array | None:
    """Return the value of a TensorProto; None for a type that is not in :data:`TYPES`."""
    dtype: np.dtype[Any] | None = None
    shape: list[int] = []
    parts: list[Array] = []
    content: tuple[int, int] | None = None
    for number, kind, first, last in fields(data, start, end):
        if number == 1 and kind == VARINT:
            known = TYPES.get(varint(data, first, last)[0])
            dtype = None if known is None else np.dtype(known)
        elif number == SHAPE and kind == LENGTH:
            shape = _shape(data, first, last)
        elif number == CONTENT and kind == LENGTH:
            content = first, last
        elif number in FLOATS and kind != VARINT:
            width = FLOATS[number]
            parts.append(np.frombuffer(data, width, (last - first) // np.dtype(width).itemsize, first))
        elif number in VARINTS and kind in (LENGTH, VARINT):
            integers = _integers(data, first, last)
            parts.append(integers.astype(np.uint16).view(np.float16) if number == HALVES else integers)
    if dtype is None:
        return None
    if content and content[1] > content[0]:
        count = (content[1] - content[0]) // dtype.itemsize
        return _shaped(np.frombuffer(data, dtype.newbyteorder("<"), count, content[0]), shape)
    parts = [each.astype(dtype, copy=False) for each in parts if each.size]
    # A constant without values is zero.
    return _shaped(np.concatenate(parts) if parts else np.zeros(0 if 0 in shape else 1, dtype), shape)


def _shaped(found: Array, shape: list[int]) -> Array:
    """Return the numbers in their shape; the last one stands for all that follow it (tensor.proto)."""
    size = math.prod(shape)
    if min(shape, default=0) < 0 or found.size > size or (found.size < size and not found.size):
        raise ValueError(f"a constant of shape {shape} has {found.size} values")
    if found.size < size:
        if size > MOST_REPEATED:
            raise ValueError(f"a constant has {size} values")
        found = np.concatenate([found, np.full(size - found.size, found[-1], found.dtype)])
    return found.reshape(shape)


def _shape(data: Buffer, start: int, end: int) -> list[int]:
    sides = []
    for number, kind, first, last in fields(data, start, end):
        if number == 2 and kind == LENGTH:
            size = 0
            for inner, form, begin, stop in fields(data, first, last):
                if inner == 1 and form == VARINT:
                    size = int(_integers(data, begin, stop)[0])
            sides.append(size)
    return sides


def _integers(data: Buffer, start: int, end: int) -> Array:
    """Return the varints in a range of bytes as ``int64``."""
    if start == end:
        return np.zeros(0, np.int64)
    octets = np.frombuffer(data, np.uint8, end - start, start)
    ends = np.flatnonzero(octets < 0x80)
    if not ends.size or ends[-1] != octets.size - 1:
        raise ValueError(f"it is truncated or damaged at byte {start}")
    begins = np.concatenate([[0], ends[:-1] + 1]).astype(np.intp)
    values = np.zeros(len(ends), np.uint64)
    for place in range(10):
        within = begins + place <= ends
        bits = octets[np.minimum(begins + place, ends)].astype(np.uint64) & np.uint64(0x7F)
        values |= np.where(within, bits << np.uint64(7 * place), np.uint64(0))
        if not within.any():
            break
    return values.view(np.int64)
