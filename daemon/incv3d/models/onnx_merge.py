"""Merge an ONNX network and the files that hold its weights into one file, without the library ``onnx``.

A model in the store is one file. Only the lengths of the graph and of the external tensors change; everything
else is copied.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from incv3d.models.entry import ModelError
from incv3d.models.graph.graphdef_reader import LENGTH, Buffer, fields
from incv3d.models.onnx_file import (
    EXTERNAL,
    GRAPH,
    LOCATION,
    RAW,
    TENSOR,
    ExternalTensor,
    OnnxStructure,
    check_location,
)

LARGEST = (1 << 31) - 1
"""Bytes; the limit of one protobuf message."""
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the merged file: bytes, and then a part of a file."""

    head: bytes
    file: Path | None = None
    offset: int = 0
    length: int = 0

    @property
    def size_bytes(self) -> int:
        """Size of both."""
        return len(self.head) + self.length

    def write(self, out: BinaryIO) -> None:
        """Write both."""
        out.write(self.head)
        if self.file is None:
            return
        with self.file.open("rb") as source:
            source.seek(self.offset)
            for done in range(0, self.length, BLOCK):
                out.write(source.read(min(self.length - done, BLOCK)))


def save_merged(path: Path, structure: OnnxStructure, target: Path) -> None:
    """Write the network at `path` to `target`, with the values of its external tensors inside.

    :param structure: of the network.
    :raises ModelError: a file is missing, too short, or outside the network's folder, or the result is too
        large.
    """
    if structure.has_nested_external:
        raise ModelError(
            f"{path}: one of its operations has a constant in another file; save the network in one file: "
            f"onnx.save(onnx.load(FILE), FILE)"
        )
    if not structure.external:
        shutil.copyfile(path, target)
        return
    by_start = {tensor.start: tensor for tensor in structure.external}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graph = next(each for each in fields(data, 0, len(data)) if each[:2] == (GRAPH, LENGTH))
        pieces = list(_pieces(path, data, graph[2], graph[3], by_start))
        size_bytes = sum(piece.size_bytes for piece in pieces)
        if size_bytes + len(data) > LARGEST:
            raise ModelError(f"{path}: too large: it has {size_bytes >> 20} MiB of weights")
        before = graph[2] - len(message_head(GRAPH, graph[3] - graph[2]))
        with target.open("wb") as out:
            out.write(data[:before] + message_head(GRAPH, size_bytes))
            for piece in pieces:
                piece.write(out)
            out.write(data[graph[3] :])


def _pieces(
    path: Path, data: Buffer, start: int, end: int, external: dict[int, ExternalTensor]
) -> Iterator[Piece]:
    """Yield the merged graph, whose message lies between `start` and `end`.

    :param external: its external tensors by the position of their messages.
    """
    position = start
    for number, _, first, last in fields(data, start, end):
        tensor = external.get(first) if number == TENSOR else None
        yield _merged(path, data, tensor) if tensor else Piece(data[position:last])
        position = last


def _merged(path: Path, data: Buffer, tensor: ExternalTensor) -> Piece:
    """Return an external tensor with its values inside."""
    file = check_location(path, tensor.location)
    there = file.stat().st_size - tensor.offset
    length = there if tensor.length is None else tensor.length
    if tensor.offset < 0 or not 0 <= length <= there:
        raise ModelError(
            f"{file}: truncated, or not this network's: the weights `{tensor.name}` are not in it"
        )
    kept, position = b"", tensor.start
    for number, _, _, last in fields(data, tensor.start, tensor.end):
        if number not in (EXTERNAL, LOCATION):
            kept += data[position:last]
        position = last
    kept += message_head(RAW, length)
    return Piece(message_head(TENSOR, len(kept) + length) + kept, file, tensor.offset, length)


def message_head(number: int, length: int) -> bytes:
    """Return the key and the length before the value of a field."""
    return varint_bytes(number << 3 | LENGTH) + varint_bytes(length)


def varint_bytes(number: int) -> bytes:
    """Return a number in protobuf's encoding."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
