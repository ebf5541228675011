"""Make an inference graph smaller without changing its results: prune, bypass, fold.

Works only on a GraphDef's nodes (whose protobuf classes come with the nodes) and on weights as NumPy arrays;
does not need TensorFlow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from incv3d.models.entry import ModelError

Array = npt.NDArray[Any]
NodeDef = Any
"""``tensorflow.NodeDef``; TensorFlow has no types for it."""

PASS_THROUGH = {"Identity", "CheckNumerics", "StopGradient", "Snapshot", "PreventGradient"}
"""Operations that return their first input unchanged; in inference they only cost time."""

CONVOLUTIONS = {"Conv2D": 3, "DepthwiseConv2dNative": 2}
"""Convolutions, with the first dimension of their weights that belongs to the output channels: ``(height,
width, in, out)`` and ``(height, width, in, multiplier)``."""

ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Reshape": np.reshape,
}
"""Operations that are computed here if all inputs are constants, as in frozen batch normalization.
TensorFlow's optimizer runs later, when the weights are variables instead of constants."""

DT_FLOAT = 1
"""``tensorflow.DT_FLOAT`` in types.proto."""
CASTS = {DT_FLOAT: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}
"""The types of casts of constants that are computed here, by their number in types.proto. Weights with half
precision use them: they take half the space in the graph's file, and are used as float32."""

FUSED_NORMS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
GLOBAL_NORM = "BatchNormWithGlobalNormalization"


class GraphFolder:
    """A graph being reduced. Call :meth:`fold`, then read :attr:`nodes` and :attr:`weights`.

    :param nodes: all nodes by name; constants without their values.
    :param weights: the values of constants by the name of their node.
    :param new_node: creates an empty NodeDef.
    :param replaced: called after weights were replaced, so that the memory of the old ones can be released.
    """

    def __init__(
        self,
        nodes: dict[str, NodeDef],
        weights: dict[str, Array],
        new_node: Callable[[], NodeDef],
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self.nodes = nodes
        self.weights = weights
        self._new_node = new_node
        self._replaced = replaced

    def fold(self, output: str, kept: Collection[str] = ()) -> None:
        """Keep the nodes that `output` needs, and fold batch normalization into the convolutions.

        :param kept: nodes to keep even if they change nothing, because they will be fed.
        """
        self._bypass({output, *kept})
        self._prune(output)
        self._compute_constants()
        for name in list(self.nodes):
            if name in self.nodes and self.nodes[name].op in CONVOLUTIONS:
                self._fold_into(name)
        for name in list(self.nodes):
            if self.nodes[name].op == GLOBAL_NORM or self._is_inference_norm(self.nodes[name]):
                self._spell_out(name)
        self._prune(output)

    def _bypass(self, kept: Collection[str]) -> None:
        """Drop nodes that change nothing, and control edges, which only order checks."""
        for node in self.nodes.values():
            data = [each for each in node.input if not each.startswith("^")]
            del node.input[:]
            node.input.extend(data)
        for node in self.nodes.values():
            for position, source in enumerate(node.input):
                node.input[position] = self._origin(source, kept)

    def _origin(self, tensor: str, kept: Collection[str]) -> str:
        for _ in range(len(self.nodes)):
            node = self._node(tensor)
            if node.op not in PASS_THROUGH or node.name in kept:
                return tensor
            tensor = node.input[0]
        raise ModelError(f"the graph has a cycle at `{tensor}`")

    def _prune(self, output: str) -> None:
        wanted, queue = {output}, deque([output])
        while queue:
            for source in self._node(queue.popleft()).input:
                name = node_name(source)
                if name not in wanted:
                    wanted.add(name)
                    queue.append(name)
        self.nodes = {name: node for name, node in self.nodes.items() if name in wanted}
        self.weights = {name: value for name, value in self.weights.items() if name in wanted}

    def _compute_constants(self) -> None:
        settled = False
        while not settled:
            settled = True
            for name, node in self.nodes.items():
                inputs = [node_name(source) for source in node.input]
                if node.op in ARITHMETIC and inputs and all(each in self.weights for each in inputs):
                    value = ARITHMETIC[node.op](*(self.weights[each] for each in inputs))
                    value = np.asarray(value, self.weights[inputs[0]].dtype)
                    self._become_constant(name, value, node.attr["T"].type)
                    settled = False
                elif node.op == "Cast" and inputs[0] in self.weights and node.attr["DstT"].type in CASTS:
                    cast = self.weights[inputs[0]].astype(CASTS[node.attr["DstT"].type])
                    self._become_constant(name, cast, node.attr["DstT"].type)
                    settled = False

    def _become_constant(self, name: str, value: Array, dtype: int) -> None:
        node = self.nodes[name]
        node.Clear()
        node.name, node.op = name, "Const"
        node.attr["dtype"].type = dtype
        self.weights[name] = value

    def _fold_into(self, convolution: str) -> None:
        """Fold the per-channel arithmetic that follows a convolution into its weights."""
        node = self.nodes[convolution]
        kernel = node_name(node.input[1])
        if kernel not in self.weights or node.attr["data_format"].s not in (b"", b"NHWC"):
            return
        if self.weights[kernel].dtype != np.float32:
            return  # half precision: folding would round differently than the graph
        channels = int(np.prod(self.weights[kernel].shape[CONVOLUTIONS[node.op] :]))
        consumers = consumers_of(self.nodes)
        scale = np.ones(channels, np.float64)
        shift = np.zeros(channels, np.float64)
        last, folded = convolution, 0
        while len(consumers.get(last, ())) == 1:
            step = self._affine(self.nodes[consumers[last][0]], last, channels)
            if step is None:
                break
            scale, shift = scale * step[0], shift * step[0] + step[1]
            last, folded = consumers[last][0], folded + 1
        if folded == 0 or (folded == 1 and self.nodes[last].op == "BiasAdd"):
            return
        self._replace_chain(convolution, kernel, last, scale, shift)

    def _affine(self, node: NodeDef, source: str, channels: int) -> tuple[Array, Array] | None:
        """Return the factor and the offset that `node` applies to each channel of `source`, or None if it
        does more."""
        inputs = [node_name(each) for each in node.input]
        zero, one = np.zeros(channels), np.ones(channels)
        if inputs[0] == source and (node.op == GLOBAL_NORM or self._is_inference_norm(node)):
            return self._norm(node)
        if len(inputs) != 2:
            return None
        constant = inputs[1] if inputs[0] == source else inputs[0]
        if constant not in self.weights:
            return None
        value = _per_channel(self.weights[constant], channels)
        if value is None:
            return None
        if node.op == "Mul":
            return value, zero
        if node.op in ("Add", "AddV2") or (node.op == "BiasAdd" and inputs[0] == source):
            return one, value
        if node.op == "Sub" and inputs[0] == source:
            return one, -value
        return (1 / value, zero) if node.op == "RealDiv" and inputs[0] == source else None

    def _is_inference_norm(self, node: NodeDef) -> bool:
        # If is_training is absent it is True: then the batch's own statistics count, and nothing can be
        # folded.
        return (
            node.op in FUSED_NORMS
            and "is_training" in node.attr
            and not node.attr["is_training"].b
            and node.attr["T"].type == DT_FLOAT
            and node.attr["data_format"].s in (b"", b"NHWC")
        )

    def _norm(self, node: NodeDef) -> tuple[Array, Array] | None:
        """Return scale and shift of a batch normalization.

        ``BatchNormWithGlobalNormalization(t, mean, variance, beta, gamma)`` is ``(t - mean) / sqrt(variance +
        epsilon) * gamma + beta``, without gamma unless ``scale_after_normalization``; ``FusedBatchNorm(x,
        gamma, beta, mean, variance)`` always has its gamma.
        """
        names = [node_name(each) for each in node.input[1:5]]
        if any(name not in self.weights for name in names):
            return None
        values = [self.weights[name].astype(np.float64) for name in names]
        if node.op == GLOBAL_NORM:
            mean, variance, beta, gamma = values
            epsilon = node.attr["variance_epsilon"].f
            if not node.attr["scale_after_normalization"].b:
                gamma = np.ones_like(gamma)
        else:
            gamma, beta, mean, variance = values
            epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale

    def _replace_chain(self, convolution: str, kernel: str, last: str, scale: Array, shift: Array) -> None:
        """Scale the weights of the convolution and add one bias; the chain's last node keeps its name."""
        weights = self.weights[kernel]
        per_channel = scale.reshape(weights.shape[CONVOLUTIONS[self.nodes[convolution].op] :])
        scaled = (weights.astype(np.float64) * per_channel).astype(weights.dtype)
        if sum(kernel == node_name(each) for node in self.nodes.values() for each in node.input) > 1:
            kernel = self._add_constant(f"{convolution}/folded", scaled)  # shared weights must not change
            self.nodes[convolution].input[1] = kernel
        else:
            self.weights[kernel] = scaled
        bias = self._add_constant(f"{last}/bias", shift.astype(weights.dtype))
        self._become(last, "BiasAdd", [convolution, bias])
        self._replaced()

    def _spell_out(self, name: str) -> None:
        """Replace a batch normalization that follows no convolution by a multiplication and an addition."""
        node = self.nodes[name]
        affine = self._norm(node)
        if affine is None:
            return
        scale = self._add_constant(f"{name}/scale", affine[0].astype(np.float32))
        shift = self._add_constant(f"{name}/shift", affine[1].astype(np.float32))
        product = self._new_node()
        product.name, product.op = f"{name}/scaled", "Mul"
        product.input.extend([node.input[0], scale])
        product.attr["T"].type = node.attr["T"].type
        self.nodes[product.name] = product
        self._become(name, "BiasAdd", [product.name, shift])

    def _become(self, name: str, op: str, inputs: list[str]) -> None:
        node = self.nodes[name]
        dtype = node.attr["T"].type
        node.Clear()
        node.name, node.op = name, op
        node.input.extend(inputs)
        node.attr["T"].type = dtype

    def _add_constant(self, name: str, value: Array) -> str:
        while name in self.nodes:
            name += "_"
        node = self._new_node()
        node.name, node.op = name, "Const"
        node.attr["dtype"].type = DT_FLOAT
        self.nodes[name] = node
        self.weights[name] = value
        return name

    def _node(self, tensor: str) -> NodeDef:
        name = node_name(tensor)
        if name not in self.nodes:
            raise ModelError(f"the graph uses the missing node `{name}`")
        return self.nodes[name]


def consumers_of(nodes: Mapping[str, NodeDef]) -> dict[str, list[str]]:
    """Return the consumers of each node by name, with one entry per input."""
    consumers: dict[str, list[str]] = {}
    for name, node in nodes.items():
        for source in node.input:
            consumers.setdefault(node_name(source), []).append(name)
    return consumers


def node_name(tensor: str) -> str:
    """Return the name of a tensor's node: ``conv`` for ``conv:0`` and ``^conv``."""
    return tensor.lstrip("^").split(":")[0]


def _per_channel(value: Array, channels: int) -> Array | None:
    """Return a scalar or ``(…1, channels)`` constant as ``(channels,)``; None for any other shape."""
    if value.dtype.kind != "f" or value.ndim > 4:  # with more dimensions, it would add them to the result
        return None
    if value.size == 1:
        return np.full(channels, value.reshape(()), np.float64)
    fits = value.shape[-1:] == (channels,) and value.size == channels
    return value.reshape(channels).astype(np.float64) if fits else None
