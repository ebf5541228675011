"""Find the features of a network by its structure: the input of the last layer with weights.

From the scores backward, operations are passed that give every class a number from its own number only, or
that only change a shape. The layer before them is the last one. Its features are what it makes scores of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from incv3d.engines import prepared_model
from incv3d.engines.base import SessionSpec
from incv3d.models.graph.fold import node_name
from incv3d.models.graph.graphdef_reader import Node, read_nodes

LAYERS = frozenset((
    "MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D", "_FusedMatMul", "_FusedConv2D",
    "Gemm", "Conv", "QGemm", "QLinearMatMul", "QLinearConv",
    "FULLY_CONNECTED", "CONV_2D",
))  # fmt: skip
"""Layers that may be the last one, as GraphDefs, ONNX and LiteRT name them."""
PASSED = frozenset((
    "Softmax", "LogSoftmax", "Sigmoid", "BiasAdd", "Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Reshape",
    "Squeeze", "ExpandDims", "Identity", "StopGradient", "CheckNumerics", "PlaceholderWithDefault", "Cast",
    "Flatten", "Unsqueeze", "Dropout", "QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearSoftmax",
    "QLinearSigmoid",
    "SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "ADD", "SUB", "MUL", "DIV", "RESHAPE", "SQUEEZE", "EXPAND_DIMS",
    "QUANTIZE", "DEQUANTIZE", "CAST",
))  # fmt: skip
"""Operations between the last layer and the scores."""
SHAPES = frozenset(("Shape", "Size", "Rank", "SHAPE"))
"""Operations whose results do not depend on the values that they take."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a network, with the names of the tensors that it takes and makes."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def last_layer(steps: Sequence[Step], fed: str, fetched: str) -> tuple[Step, str] | None:
    """Return the last layer with weights and its input, the tensor of the features; None: not found.

    :param fed: the tensor of the pixels.
    :param fetched: the tensor of the scores.
    """
    makers = {made: step for step in steps for made in step.outputs}
    computed = _computed(steps, fed)
    tensor, seen = fetched, set()
    while tensor in makers and tensor not in seen:  # a damaged file can have a cycle
        seen.add(tensor)
        step = makers[tensor]
        sources = {each for each in step.inputs if each in computed}
        if len(sources) != 1:
            return None  # two paths join, as in an attention or a softmax of single operations
        (source,) = sources
        if step.op in LAYERS:
            return step, source
        if step.op not in PASSED:
            return None
        tensor = source
    return None


def _computed(steps: Iterable[Step], fed: str) -> set[str]:
    """Return the tensors whose values depend on the tensor `fed`."""
    takers: dict[str, list[Step]] = {}
    for step in steps:
        for taken in step.inputs:
            takers.setdefault(taken, []).append(step)
    found, queue = {fed}, [fed]
    while queue:
        for step in takers.get(queue.pop(), ()):
            if step.op in SHAPES:
                continue
            queue += [made for made in step.outputs if made not in found]
            found.update(step.outputs)
    return found


def with_features(spec: SessionSpec, prepared: Path | None) -> SessionSpec:
    """Return `spec` with the tensor of the features, if it is for a GraphDef that has one.

    Only the structure is read, within milliseconds. The other formats have an output for them.

    :param prepared: the folder of the prepared model; its graph has other nodes than the stored one.
    :raises ModelError: the graph cannot be read.
    """
    if spec.format != "graphdef":
        return spec
    nodes = read_nodes(prepared / prepared_model.GRAPH if prepared else spec.file)
    return replace(spec, features=graph_features(nodes, spec.input, spec.output))


def graph_features(nodes: Sequence[Node], fed: str, fetched: str) -> str:
    """Return the tensor of the features of a GraphDef, or an empty string."""
    taken = {each.name: [_tensor(name) for name in each.inputs if name[:1] != "^"] for each in nodes}
    made: dict[str, set[str]] = {}
    for tensor in (_tensor(fed), _tensor(fetched), *(each for names in taken.values() for each in names)):
        made.setdefault(node_name(tensor), set()).add(tensor)
    steps = [Step(node.op, taken[node.name], tuple(made.get(node.name, ()))) for node in nodes]
    found = last_layer(steps, _tensor(fed), _tensor(fetched))
    return found[1] if found else ""


def _tensor(name: str) -> str:
    """Return a tensor's name with the number of the output, which a GraphDef omits for the first one."""
    return name if ":" in name else f"{name}:0"
