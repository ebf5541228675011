"""Translate the nodes of a folded graph to LiteRT's operators.

A bias and an activation that follow a layer become part of it, as in TensorFlow's own converter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from incv3d.models.flatbuffer.writer import PIXELS, NetworkWriter
from incv3d.models.graph.fold import DT_FLOAT, Array, consumers_of
from incv3d.models.graph.numpy_operations import OPERATIONS, compute, unsupported
from incv3d.models.graph.numpy_run import sources_of
from incv3d.models.graph.plain_graph import PlainNode

ACTIVATIONS = {
    "Relu": schema.ActivationFunctionType.RELU,
    "Relu6": schema.ActivationFunctionType.RELU6,
}
BIASES = frozenset(("BiasAdd", "Add", "AddV2"))
INDEX_TYPES = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True, slots=True)
class Value:
    """A computed tensor of the flatbuffer."""

    tensor: int
    shape: tuple[int, ...]


class Translation:
    """A folded graph, and what has been translated of it.

    :param nodes: the nodes by name; constants are those in `weights`.
    """

    def __init__(
        self, nodes: Mapping[str, PlainNode], weights: Mapping[str, Array], fed: str, fetched: str,
        shape: tuple[int, ...],
    ) -> None:  # fmt: skip
        self.writer = NetworkWriter()
        self.constants: dict[str, Array] = dict(weights)
        self._nodes = nodes
        self._fetched = fetched
        self._consumers = consumers_of(nodes)
        self._written: dict[tuple[str, str], int] = {}
        self.values = {fed: Value(self.writer.tensor(PIXELS, shape), shape)}

    def is_done(self, name: str) -> bool:
        """Return whether the value of a node is known."""
        return name in self.values or name in self.constants

    def compute_constant(self, node: PlainNode) -> bool:
        """Compute the value of `node` if it depends on constants or on a shape only; return whether so."""
        sources = sources_of(node)
        if node.op == "Shape" and sources[0] in self.values:
            self.constants[node.name] = compute(node, [self.placeholder(sources[0])])
            return True
        if node.op in OPERATIONS and sources and all(each in self.constants for each in sources):
            self.constants[node.name] = compute(node, [self.constants[each] for each in sources])
            return True
        return False

    def placeholder(self, name: str) -> Array:
        """Return an array of the node's shape that takes no memory; for a constant its value."""
        if name in self.constants:
            return self.constants[name]
        return np.broadcast_to(np.float32(0), self.values[name].shape)

    def value(self, name: str, node: PlainNode) -> Value:
        """Return the computed tensor of a source of `node`.

        :raises UnsupportedOperation: it is a constant.
        """
        if name not in self.values:
            raise unsupported(node, f"its input `{name}` is a constant")
        return self.values[name]

    def operand(self, name: str, node: PlainNode) -> int:
        """Return the number of the tensor of a source of `node`, which may be a constant."""
        if name in self.values:
            return self.values[name].tensor
        value = self.constants[name]
        if value.dtype != np.float32:
            raise unsupported(node, f"its input `{name}` is {value.dtype.name}")
        return self.weight(name, "", value)

    def weight(self, name: str, form: str, value: Array) -> int:
        """Return the number of the tensor with a constant's value, adding it once for each form."""
        if (name, form) not in self._written:
            self._written[name, form] = self.writer.constant(name + form, value)
        return self._written[name, form]

    def indices(self, name: str, node: PlainNode) -> Array:
        """Return a constant of integers as int32.

        :raises UnsupportedOperation: it is computed by the network.
        """
        found = self.constants.get(name)
        if found is None or found.dtype not in INDEX_TYPES:
            raise unsupported(node, f"its input `{name}` is not a constant of integers")
        return np.asarray(found, np.int32)

    def finish(self, names: Sequence[str], shape: tuple[int, ...]) -> int:
        """Add the tensor for the last of a chain of nodes that become one operator; return its number."""
        value = Value(self.writer.tensor(names[-1], shape), shape)
        self.values.update(dict.fromkeys(names, value))
        return value.tensor

    def bias_after(self, name: str, shape: tuple[int, ...]) -> tuple[list[str], Array]:
        """Return the node `name` and the addition of a bias that follows it, and the bias: zeros if none.

        :param shape: the shape of the node's result.
        """
        follower, channels = self._only_consumer(name), shape[-1]
        if follower and follower.op in BIASES and follower.attr["data_format"].s in (b"", b"NHWC"):
            others = [source for source in sources_of(follower) if source != name]
            bias = self.constants.get(others[0]) if len(others) == 1 else None
            if (
                bias is not None
                and bias.ndim <= len(shape)
                and bias.shape[-1:] == (bias.size,) == (channels,)
            ):
                return [name, follower.name], bias.reshape(channels)
        return [name], np.zeros(channels, np.float32)

    def activation_after(self, names: list[str]) -> tuple[list[str], int]:
        """Return the chain `names` with the activation that follows it, and the activation's number."""
        follower = self._only_consumer(names[-1])
        if follower and follower.op in ACTIVATIONS:
            return [*names, follower.name], ACTIVATIONS[follower.op]
        return names, schema.ActivationFunctionType.NONE

    def _only_consumer(self, name: str) -> PlainNode | None:
        found = self._consumers.get(name, [])
        return self._nodes[found[0]] if len(found) == 1 and name != self._fetched else None


def check_type(node: PlainNode) -> None:
    """Raise UnsupportedOperation if a node computes with other numbers than float32."""
    if node.attr["T"].type not in (0, DT_FLOAT):
        raise unsupported(node, "it does not compute with float32")
