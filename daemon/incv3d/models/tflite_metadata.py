"""Read TFLite Metadata: a ``.tflite``'s pixel normalization, and the labels in a zip archive at its end.

The metadata are a separate flatbuffer in one of the model's buffers. LiteRT includes the schema of the model,
but not of the metadata; the few fields needed are read by their ids in tflite-support's
``metadata_schema.fbs``.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import flatbuffers
import msgspec
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table

from incv3d.config.preprocessing import Normalisation, PerChannel
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import DAMAGED_ZIP
from incv3d.models.label_files import LARGEST

NAME = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
SUBGRAPHS = 3
"""Field of ModelMetadata."""
INPUTS, OUTPUTS = 2, 3
"""Fields of SubGraphMetadata."""
PROCESS_UNITS, FILES = 4, 6
"""Fields of TensorMetadata."""
OPTIONS_TYPE, OPTIONS = 0, 1
"""Fields of ProcessUnit."""
NORMALIZATION = 1
"""The type of its options."""
MEAN, STD = 0, 1
"""Fields of NormalizationOptions."""
FILE_NAME, FILE_TYPE, FILE_LOCALE = 0, 2, 3
"""Fields of AssociatedFile."""
LABEL_TYPES = (2, 3)
"""TENSOR_AXIS_LABELS and TENSOR_VALUE_LABELS."""
MOST = 10_000
"""Maximum number of elements of a vector; a longer one means that the metadata are damaged."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a file's metadata; all empty for a file without metadata."""

    normalisation: Normalisation | None = None
    labels: bytes = b""
    labels_name: str = ""


def read_metadata(path: Path, content: bytes, fed: int, fetched: int, with_labels: bool) -> Metadata:
    """Return what the model in the file at `path` declares about input `fed` and output `fetched`.

    :param content: the content of the file.
    :param with_labels: read the labels, too.
    :raises ModelError: the metadata are damaged, or name labels that are missing.
    """
    try:
        data = _metadata(content)
        if data is None:
            return Metadata()
        root = _Fields(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
        graph = next(root.tables(SUBGRAPHS), None)
        taken = _nth(graph, INPUTS, fed)
        given = _nth(graph, OUTPUTS, fetched)
        name = _labels_name(given) if given and with_labels else ""
        normalisation = _normalisation(taken) if taken else None
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"{path}: its metadata are damaged ({error})") from None
    labels = _associated_file(path, name) if name else b""
    return Metadata(normalisation=normalisation, labels=labels, labels_name=name)


class _Fields:
    """Reads a flatbuffer's table by the ids of its fields."""

    def __init__(self, data: bytes, position: int) -> None:
        self._table = Table(data, position)

    def number(self, field: int) -> int:
        at = self._at(field)
        return self._table.Get(number_types.Uint8Flags, at) if at else 0

    def text(self, field: int) -> str:
        at = self._at(field)
        return self._table.String(at).decode("utf-8") if at else ""

    def table(self, field: int) -> _Fields | None:
        at = self._at(field)
        return _Fields(self._table.Bytes, self._table.Indirect(at)) if at else None

    def tables(self, field: int) -> Iterator[_Fields]:
        for at in self._elements(field):
            yield _Fields(self._table.Bytes, self._table.Indirect(at))

    def floats(self, field: int) -> tuple[float, ...]:
        return tuple(self._table.Get(number_types.Float32Flags, at) for at in self._elements(field))

    def _at(self, field: int) -> int:
        """Return the position of a field, or 0 if it is absent."""
        offset = self._table.Offset(4 + 2 * field)
        return self._table.Pos + offset if offset else 0

    def _elements(self, field: int) -> range:
        """Return the positions of a vector's elements, which take 4 bytes each in all vectors read here."""
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return range(0)
        length = self._table.VectorLen(offset)
        if length > MOST:
            raise ValueError(f"a vector of {length} elements")
        start = self._table.Vector(offset)
        return range(start, start + 4 * length, 4)


def _metadata(data: bytes) -> bytes | None:
    model = schema.Model.GetRootAsModel(data, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == NAME:
            buffer = model.Buffers(entry.Buffer())
            found = bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b""
            if found[4:8] != IDENTIFIER:
                raise ValueError("wrong identifier")
            return found
    return None


def _nth(graph: _Fields | None, field: int, number: int) -> _Fields | None:
    every = list(graph.tables(field)) if graph else []
    return every[number] if number < len(every) else None


def _normalisation(taken: _Fields) -> Normalisation | None:
    for unit in taken.tables(PROCESS_UNITS):
        options = unit.table(OPTIONS)
        if unit.number(OPTIONS_TYPE) != NORMALIZATION or options is None:
            continue
        mean, std = options.floats(MEAN) or (0.0,), options.floats(STD) or (1.0,)
        is_numeric = all(map(math.isfinite, (*mean, *std))) and min(std) > 0
        if not is_numeric or (len(mean) != len(std) and 1 not in (len(mean), len(std))):
            raise ValueError(f"mean {mean}, std {std}")
        spelled = ", std ".join(", ".join(f"{each:g}" for each in values) for values in (mean, std))
        return Normalisation(
            mean=_per_channel(mean), scale=_per_channel(std), why=f"the file's metadata: mean {spelled}"
        )
    return None


def _per_channel(values: tuple[float, ...]) -> PerChannel:
    return values if len(values) > 1 else values[0]


def _labels_name(given: _Fields) -> str:
    """Return the name of an output's label file; with several languages, the one without a code, or
    English."""
    files = [each for each in given.tables(FILES) if each.number(FILE_TYPE) in LABEL_TYPES]
    by_locale = {each.text(FILE_LOCALE)[:2]: each.text(FILE_NAME) for each in reversed(files)}
    return by_locale.get("") or by_locale.get("en") or (files[0].text(FILE_NAME) if files else "")


def _associated_file(path: Path, name: str) -> bytes:
    """Return the content of the file `name` in the zip archive at the end of the model."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > LARGEST:
                raise ModelError(f"{path}: `{name}` in it is not a labels file: larger than {LARGEST} bytes")
            return archive.read(name)
    except KeyError:
        raise ModelError(f"{path}: its metadata name `{name}`, which is missing; set custom.labels") from None
    except DAMAGED_ZIP as error:
        raise ModelError(f"{path}: `{name}` in it cannot be read ({error}); set custom.labels") from None
