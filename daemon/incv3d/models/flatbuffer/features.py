"""Give a flatbuffer a second output: its features.

Nothing in the file is moved. The new vectors of outputs and the new name of the tensor are appended, and the
offsets of the old ones are changed to point to them, so that neither the weights nor a zip archive of
metadata at the end are read or written again. The format is ``schema.fbs`` in tensorflow/lite/schema.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from incv3d.engines.base import FEATURES, is_feature_vector
from incv3d.models.entry import ModelError
from incv3d.models.feature_search import Step, last_layer

NAME, GRAPH_OUTPUTS, SIGNATURE_OUTPUTS = 10, 8, 6
"""Where the vtables of a Tensor, a SubGraph and a SignatureDef have these fields."""
MAP_VTABLE = struct.pack("<4H", 8, 12, 4, 8)
"""The vtable of a TensorMap: its own size, the table's, and the places of the name and of the tensor."""
LARGEST_BYTES = 2**31 - 1
"""Offsets in a flatbuffer are limited to this."""
DAMAGED = (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError)
"""What the library raises for a damaged file, which LiteRT's own verification rejects."""


def mark_features(network: Path, output: str = "") -> bool:
    """Make the features the second output of the flatbuffer at `network`; return whether it has them.

    The file is changed in place; no other process may use it.

    :param output: the tensor of the scores, by its name; of no importance if there is a single output.
    :raises ModelError: the file is damaged.
    :raises OSError: it cannot be read or written.
    """
    with network.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            patch = _patch(data, output)
        except DAMAGED as error:
            raise ModelError(f"{network}: damaged: {error}") from None
    if patch is None:
        return False
    if patch.slots:
        with network.open("r+b") as changed:
            changed.seek(0, 2)
            changed.write(patch.tail)
            for place, target in patch.slots.items():
                changed.seek(place)
                changed.write(struct.pack("<I", target - place))
    return True


class _Patch:
    """Bytes to append to a file of `size_bytes`, and the places of offsets to set."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.tail = bytearray(-size_bytes % 4)
        self.slots: dict[int, int] = {}
        """The positions that the offsets at these places shall point to."""

    def add(self, content: bytes) -> int:
        """Append something that is aligned to 4 bytes, and return its position."""
        position = self._size_bytes + len(self.tail)
        if position + len(content) > LARGEST_BYTES:
            raise ValueError("too large for another output")
        self.tail += content + bytes(-len(content) % 4)
        return position

    def text(self, text: bytes) -> int:
        """Append a string."""
        return self.add(struct.pack("<I", len(text)) + text + b"\0")

    def numbers(self, numbers: Sequence[int]) -> int:
        """Append a vector of int32."""
        return self.add(struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers))

    def maps(self, named: Sequence[tuple[bytes, int]]) -> int:
        """Append a vector of TensorMaps. Offsets point forward only, so all of it is written again."""
        vector = self.add(struct.pack("<I", len(named)) + bytes(4 * len(named)))
        start = vector - self._size_bytes
        for number, (name, tensor) in enumerate(named):
            vtable = self.add(MAP_VTABLE)
            table = self.add(struct.pack("<iII", len(MAP_VTABLE), 8, tensor))
            self.text(name)
            slot = 4 + 4 * number
            struct.pack_into("<I", self.tail, start + slot, table - vector - slot)
            assert table == vtable + len(MAP_VTABLE)
        return vector


def _patch(data: mmap.mmap, output: str) -> _Patch | None:
    """Return the changes that make the features an output, none if they are one; None: there are none."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    if not model.SubgraphsLength():
        return None
    graph = model.Subgraphs(0)
    outputs = [int(graph.Outputs(each)) for each in range(graph.OutputsLength())]
    names = {each: graph.Tensors(each).Name() or b"" for each in outputs}
    patch = _Patch(len(data))
    if FEATURES.encode() in names.values():
        return patch
    possible = {each.encode() for each in (output, f"{output}:0", output.removesuffix(":0"))}
    fetched = outputs if len(outputs) == 1 else [each for each in outputs if names[each] in possible]
    if len(fetched) != 1 or graph.InputsLength() != 1:
        return None
    found = _find(model, graph, fetched[0])
    if found is None:
        return None
    tensor = graph.Tensors(found)
    patch.slots[_slot(tensor, NAME)] = patch.text(FEATURES.encode())
    if found not in outputs:
        patch.slots[_slot(graph, GRAPH_OUTPUTS)] = patch.numbers([*outputs, found])
        for each in map(model.SignatureDefs, range(model.SignatureDefsLength())):
            if each.SubgraphIndex() == 0:
                maps = map(each.Outputs, range(each.OutputsLength()))
                named = [(known.Name(), known.TensorIndex()) for known in maps]
                patch.slots[_slot(each, SIGNATURE_OUTPUTS)] = patch.maps([*named, (FEATURES.encode(), found)])
    return None if 0 in patch.slots else patch


def _find(model: Any, graph: Any, fetched: int) -> int | None:
    """Return the number of the tensor of the features, or None if there is none."""
    kinds = _kinds()
    codes = [model.OperatorCodes(each) for each in range(model.OperatorCodesLength())]
    names = [kinds.get(max(each.BuiltinCode(), each.DeprecatedBuiltinCode()), "") for each in codes]
    steps = []
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        taken = map(operator.Inputs, range(operator.InputsLength()))
        made = map(operator.Outputs, range(operator.OutputsLength()))
        steps.append(Step(names[operator.OpcodeIndex()], _texts(taken), _texts(made)))
    found = last_layer(steps, str(int(graph.Inputs(0))), str(fetched))
    if found is None:
        return None
    tensor = graph.Tensors(int(found[1]))
    shape = [int(tensor.Shape(each)) for each in range(tensor.ShapeLength())]
    return int(found[1]) if is_feature_vector(shape) else None


def _texts(numbers: Iterable[Any]) -> list[str]:
    return [str(int(each)) for each in numbers if each >= 0]  # -1: an optional input that is absent


def _slot(table: Any, field: int) -> int:
    """Return the place of a field's offset, or 0 if the table does not have the field."""
    offset = table._tab.Offset(field)
    return int(table._tab.Pos + offset) if offset else 0


@cache
def _kinds() -> dict[int, str]:
    """Return the names of the operations by their numbers."""
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
