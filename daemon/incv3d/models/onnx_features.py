"""Give an ONNX network a second output: its features.

A protobuf message may be written in parts, which are merged when it is read. So the operation that makes the
output, and the output itself, are appended to the file as another part of its graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from incv3d.engines.base import FEATURES
from incv3d.models.feature_search import Step, last_layer
from incv3d.models.onnx_file import FLOAT, GRAPH, NODE, read_structure
from incv3d.models.onnx_merge import message_head, varint_bytes

OUTPUT = 12
"""Field of a GraphProto."""
FLOATS = f"{FEATURES}_float"
"""The features before they are made a vector."""
INTEGER = 2
"""The type of an attribute (``AttributeProto.INT``)."""
MATRIX = bytes([0x0A, 8, 0x08, FLOAT, 0x12, 4, 0x0A, 0, 0x0A, 0])
"""The type of the output, a TypeProto: floats in two dimensions of any size."""
INTEGER_LAYERS = frozenset(("QGemm", "QLinearConv", "QLinearMatMul"))
"""Layers that take integers, each followed by its scale and its zero point."""


def mark_features(network: Path, fed: str, fetched: str) -> bool:
    """Make the features another output of the network at `network`; return whether it has them.

    The file is changed in place; no other process may use it.

    :param fed: the input.
    :param fetched: the output with the scores.
    :raises ModelError: the file is damaged.
    :raises OSError: it cannot be written.
    """
    nodes = read_structure(network).nodes
    if any(FEATURES in node.outputs for node in nodes):
        return True
    found = last_layer([Step(node.op, node.inputs, node.outputs) for node in nodes], fed, fetched)
    if found is None:
        return False
    layer, features = found
    if layer.op not in INTEGER_LAYERS:
        made = _node("Cast", [features], FLOATS, ("to", FLOAT))
    elif layer.inputs[0] == features:
        made = _node("DequantizeLinear", layer.inputs[:3], FLOATS)
    else:
        return False
    flat = _node("Flatten", [FLOATS], FEATURES, ("axis", 1))
    with network.open("ab") as file:
        file.write(_message(GRAPH, made + flat + _message(OUTPUT, _text(1, FEATURES) + _message(2, MATRIX))))
    return True


def _node(op: str, inputs: Sequence[str], output: str, *attributes: tuple[str, int]) -> bytes:
    content = b"".join(_text(1, each) for each in inputs) + _text(2, output) + _text(4, op)
    for name, value in attributes:
        content += _message(5, _text(1, name) + _number(3, value) + _number(20, INTEGER))
    return _message(NODE, content)


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode())


def _number(number: int, value: int) -> bytes:
    return bytes([*varint_bytes(number << 3), value])


def _message(number: int, content: bytes) -> bytes:
    return message_head(number, len(content)) + content
