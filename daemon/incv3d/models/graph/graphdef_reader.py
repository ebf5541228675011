"""Read the nodes of a serialized GraphDef without TensorFlow.

The protobuf wire format is a sequence of fields, each a varint key (field number and wire type) and its
value. A GraphDef has its nodes in field 1 and its functions in field 2; a node has its name, operation and
inputs in fields 1 to 3; a function has its signature in field 1 and its nodes in field 3
(tensorflow/core/framework/graph.proto, node_def.proto, function.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from incv3d.models.entry import ModelError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
Buffer = bytes | mmap.mmap
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    """The nodes whose tensors it uses; a name with ``^`` is a control input."""


def read_nodes(path: Path) -> list[Node]:
    """Return the nodes of the GraphDef in the file at `path`.

    :raises ModelError: the file cannot be read, or is not a GraphDef.
    """
    return _read(path, parse_nodes)


def read_functions(path: Path) -> dict[str, list[Node]]:
    """Return the nodes of each function in the library of the GraphDef in the file at `path`, by name.

    :raises ModelError: the file cannot be read, or is not a GraphDef.
    """
    return _read(path, parse_functions)


def _read(path: Path, parse: Callable[[Buffer], Parsed]) -> Parsed:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise ModelError(f"{path}: the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse(data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(f"{path}: not a frozen GraphDef: {error}") from None


def parse_nodes(data: Buffer) -> list[Node]:
    """Return the nodes of a serialized GraphDef.

    :raises ValueError: `data` is not a GraphDef.
    """
    nodes = []
    for field, kind, start, end in fields(data, 0, len(data)):
        if field == 1 and kind == LENGTH:
            nodes.append(_node(data, start, end))
    if not any(node.op for node in nodes):
        raise ValueError("it has no nodes")
    return nodes


def parse_functions(data: Buffer) -> dict[str, list[Node]]:
    """Return the nodes of each function in the library of a serialized GraphDef, by name.

    :raises ValueError: `data` is not a GraphDef.
    """
    functions = {}
    for library, kind, start, end in fields(data, 0, len(data)):
        if library != 2 or kind != LENGTH:
            continue
        for field, inner, first, last in fields(data, start, end):
            if field == 1 and inner == LENGTH:
                name, nodes = _function(data, first, last)
                functions[name] = nodes
    return functions


def _function(data: Buffer, start: int, end: int) -> tuple[str, list[Node]]:
    name, nodes = "", []
    for field, kind, first, last in fields(data, start, end):
        if field == 1 and kind == LENGTH:
            name = _node(data, first, last).name  # an OpDef, whose first field is its name, too
        elif field == 3 and kind == LENGTH:
            nodes.append(_node(data, first, last))
    return name, nodes


def _node(data: Buffer, start: int, end: int) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: []}
    for field, kind, first, last in fields(data, start, end):
        if field in texts and kind == LENGTH:
            texts[field].append(data[first:last].decode("utf-8"))
    return Node("".join(texts[1][-1:]), "".join(texts[2][-1:]), tuple(texts[3]))


def fields(data: Buffer, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield every field of a message: number, wire type, first byte and end of its value."""
    while position < end:
        key, position = varint(data, position, end)
        field, kind = key >> 3, key & 7
        start = position
        if kind == VARINT:
            _, position = varint(data, position, end)
        elif kind == LENGTH:
            length, start = varint(data, position, end)
            position = start + length
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"unexpected byte at {start - 1}")
        if not field or position > end:
            raise ValueError(f"it is truncated or damaged at byte {start}")
        yield field, kind, start, position


def varint(data: Buffer, position: int, end: int) -> tuple[int, int]:
    """Return the number that begins at `position`, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError("it is truncated")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"unexpected byte at {position - 1}")
