"""Read the structure of an ONNX network, without the library ``onnx``.

The file is a ModelProto (onnx/onnx.proto): its graph is in field 7; a graph has nodes in field 1 and named
tensors in field 5. Weights can lie in files next to it, as PyTorch writes them since 2.9: then a tensor has
``data_location`` 1 (field 14) and the file's name in field 13.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from incv3d.models.entry import ModelError
from incv3d.models.graph.graphdef_reader import LENGTH, VARINT, Buffer, fields, varint

IR_VERSION, GRAPH, OPSETS, FUNCTIONS = 1, 7, 8, 25
"""Fields of a ModelProto."""
LAST_FIELD = 26
NODE, TENSOR, SPARSE_TENSOR = 1, 5, 15
"""Fields of a GraphProto."""
DIMENSION, TYPE, FLOATS, INTEGERS, NAME, RAW, EXTERNAL, LOCATION = 1, 2, 4, 5, 8, 9, 13, 14
"""Fields of a TensorProto."""
FLOAT, UINT8, INT8 = 1, 2, 3
"""Types of a TensorProto."""
SMALL = 64
"""Bytes; larger constants are not read."""


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One operation of a network."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose values lie in another file."""

    name: str
    start: int
    """Where its TensorProto begins in the network's file."""
    end: int
    location: str
    offset: int
    length: int | None
    """None: to the end of the file."""


@dataclass(slots=True)
class OnnxStructure:
    """The operations of a network, its small constants and its tensors in other files."""

    nodes: list[OnnxNode] = field(default_factory=list)
    floats: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Constants of a few float32."""
    integers: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Constants of one 8-bit integer: its type and value."""
    external: list[ExternalTensor] = field(default_factory=list)
    has_nested_external: bool = False
    """Whether tensors inside operations lie in other files."""

    def maker_of(self, tensor: str) -> OnnxNode | None:
        """Return the node that computes `tensor`, or None."""
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def users_of(self, tensor: str) -> list[OnnxNode]:
        """Return the nodes that take `tensor`."""
        return [node for node in self.nodes if tensor in node.inputs]


def looks_like_onnx(path: Path) -> bool:
    """Return whether the file at `path` begins like an ONNX network.

    :raises ModelError: it does, but is damaged or truncated.
    """
    with path.open("rb") as file:
        head = file.read(1)
        # GraphDefs begin with field 1 as a message. SavedModels are told apart by their name.
        if head != bytes([IR_VERSION << 3 | VARINT]):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = set()
            try:
                for number, kind, _, _ in fields(data, 0, len(data)):
                    if number > LAST_FIELD:
                        return False
                    found.add((number, kind))
            except ValueError as error:
                if path.suffix.lower() != ".onnx" and (GRAPH, LENGTH) not in found:
                    return False
                raise ModelError(f"{path}: not a whole ONNX network: {error}") from None
    return (GRAPH, LENGTH) in found


def read_structure(path: Path) -> OnnxStructure:
    """Return the structure of the ONNX network in the file at `path`.

    :raises ModelError: it is damaged.
    """
    structure = OnnxStructure()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, kind, start, end in fields(data, 0, len(data)):
                if (number, kind) == (GRAPH, LENGTH):
                    _read_graph(data, start, end, structure)
                elif (number, kind) == (FUNCTIONS, LENGTH):
                    nested = _nested_external(data, start, end, (7,))
                    structure.has_nested_external = structure.has_nested_external or nested
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, struct.error) as error:
        raise ModelError(f"{path}: not a whole ONNX network: {error}") from None
    return structure


def external_files(path: Path) -> list[Path]:
    """Return the files that hold weights of the network at `path`, which is read only if it is ONNX.

    :raises ModelError: the network is damaged, or names a file outside its folder.
    """
    if not path.is_file() or not path.stat().st_size or not looks_like_onnx(path):
        return []
    return sorted({check_location(path, each.location) for each in read_structure(path).external})


def check_location(path: Path, location: str) -> Path:
    """Return the path of a file with weights.

    :raises ModelError: it is not a regular file in the folder of the network at `path`, or below it.
    """
    folder = path.parent.resolve()
    found = folder / location
    if not location or "\0" in location or not found.resolve().is_relative_to(folder):
        raise ModelError(f"{path}: rejected: it reads `{location}`, a file outside its folder")
    if not found.is_file():
        raise ModelError(f"{path}: its weights are in {found}, which is missing; copy that file here, too")
    return found


def _read_graph(data: Buffer, start: int, end: int, structure: OnnxStructure) -> None:
    for number, kind, first, last in fields(data, start, end):
        if kind != LENGTH:
            continue
        if number == NODE:
            node, nested = _read_node(data, first, last)
            structure.nodes.append(node)
            structure.has_nested_external = structure.has_nested_external or nested
            if node.op == "Constant" and not nested:
                _read_constant(data, first, last, node.outputs, structure)
        elif number == TENSOR:
            _read_tensor(data, first, last, "", structure)
        elif number == SPARSE_TENSOR:
            nested = any(_is_external(data, *each) for each in _messages(data, first, last, (1, 2)))
            structure.has_nested_external = structure.has_nested_external or nested


def _read_node(data: Buffer, start: int, end: int) -> tuple[OnnxNode, bool]:
    inputs, outputs, op, domain, nested = [], [], "", "", False
    for number, kind, first, last in fields(data, start, end):
        if kind != LENGTH:
            continue
        if number == 1:
            inputs.append(_text(data, first, last))
        elif number == 2:
            outputs.append(_text(data, first, last))
        elif number == 4:
            op = _text(data, first, last)
        elif number == 7:
            domain = _text(data, first, last)
        elif number == 5:
            nested = nested or _attribute_is_external(data, first, last)
    return OnnxNode(op, domain, tuple(inputs), tuple(outputs)), nested


def _attribute_is_external(data: Buffer, start: int, end: int) -> bool:
    """Return whether an attribute has a tensor (fields 5 and 10) or a graph (6 and 11) with external data."""
    if any(_is_external(data, *each) for each in _messages(data, start, end, (5, 10))):
        return True
    return any(
        _nested_external(data, *each, (NODE,))
        or any(_is_external(data, *tensor) for tensor in _messages(data, *each, (TENSOR,)))
        for each in _messages(data, start, end, (6, 11))
    )


def _nested_external(data: Buffer, start: int, end: int, nodes: tuple[int, ...]) -> bool:
    """Return whether one of the nodes in these fields of a message has external data."""
    return any(_read_node(data, *each)[1] for each in _messages(data, start, end, nodes))


def _read_constant(
    data: Buffer, start: int, end: int, outputs: tuple[str, ...], structure: OnnxStructure
) -> None:
    for attribute in _messages(data, start, end, (5,)):
        for tensor in _messages(data, *attribute, (5,)):
            _read_tensor(data, *tensor, outputs[0] if outputs else "", structure)


def _read_tensor(data: Buffer, start: int, end: int, name: str, structure: OnnxStructure) -> None:
    """Add a tensor to `structure` if it is external or a single number.

    :param name: its name; empty: as it says itself.
    """
    type_, count, values, entries, external = 0, 1, b"", {}, False
    for number, kind, first, last in fields(data, start, end):
        if number == DIMENSION:
            dimensions = _numbers(data, kind, first, last)
            for each in dimensions:
                count *= each
        elif number == TYPE and kind == VARINT:
            type_ = varint(data, first, last)[0]
        elif number == NAME and kind == LENGTH:
            name = name or _text(data, first, last)
        elif number in (RAW, FLOATS) and last - first <= SMALL:
            values = bytes(data[first:last])
        elif number == INTEGERS and last - first <= SMALL:
            values = bytes(each & 0xFF for each in _numbers(data, kind, first, last))
        elif number == EXTERNAL and kind == LENGTH:
            pair = {key: _text(data, *place) for key, _, *place in fields(data, first, last)}
            entries[pair.get(1, "")] = pair.get(2, "")
        elif number == LOCATION and kind == VARINT:
            external = varint(data, first, last)[0] == 1
    if external:
        length = entries.get("length")
        structure.external.append(
            ExternalTensor(
                name=name,
                start=start,
                end=end,
                location=entries.get("location", ""),
                offset=int(entries.get("offset", "") or 0),
                length=int(length) if length else None,
            )
        )
    elif type_ == FLOAT and values and len(values) == 4 * count:
        structure.floats[name] = struct.unpack(f"<{count}f", values)
    elif count == 1 and type_ in (UINT8, INT8) and len(values) == 1:
        is_signed = type_ == INT8
        structure.integers[name] = (
            "int8" if is_signed else "uint8",
            int.from_bytes(values, "little", signed=is_signed),
        )


def _is_external(data: Buffer, start: int, end: int) -> bool:
    return any(
        number == LOCATION and kind == VARINT and varint(data, first, last)[0] == 1
        for number, kind, first, last in fields(data, start, end)
    )


def _messages(data: Buffer, start: int, end: int, wanted: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    for number, kind, first, last in fields(data, start, end):
        if number in wanted and kind == LENGTH:
            yield first, last


def _numbers(data: Buffer, kind: int, start: int, end: int) -> list[int]:
    """Return the integers of a repeated field, packed or not."""
    found, position = [], start
    while position < end:
        number, position = varint(data, position, end)
        found.append(number)
        if kind == VARINT:
            break
    return found


def _text(data: Buffer, start: int, end: int) -> str:
    return bytes(data[start:end]).decode("utf-8")
