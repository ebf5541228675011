"""Make ONNX networks like the ones that PyTorch exports, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32)
"""Red, green, blue, white and black, in [0, 1]."""
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


class Builder:
    """Collects the nodes and weights of a network, channels first."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operation}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def conv(self, fed: str, inside: int, out: int, side: int, stride: int = 1, groups: int = 1) -> str:
        fan = side * side * inside // groups
        kernel = self.random.normal(0, np.sqrt(2 / fan), (out, inside // groups, side, side))
        bias = self.random.normal(0, 0.05, out)
        return self.add(
            "Conv", fed, self.weight(kernel), self.weight(bias),
            kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4, group=groups,
        )  # fmt: skip

    def dense(self, fed: str, inside: int, out: int, output: str = "", sharpness: float = 1) -> str:
        kernel, bias = (
            self.random.normal(0, sharpness / np.sqrt(inside), (out, inside)),
            self.random.normal(0, 0.1, out),
        )
        return self.add("Gemm", fed, self.weight(kernel), self.weight(bias), output=output, transB=1)

    def pooled(self, fed: str) -> str:
        return self.add("Flatten", self.add("GlobalAveragePool", fed), axis=1)

    def model(
        self,
        shape: Sequence[int | str],
        outputs: dict[str, Sequence[int | str]],
        dtype: int = TensorProto.FLOAT,
        out_dtype: int = TensorProto.FLOAT,
        opset: int = 17,
        ir_version: int = 8,
        domains: Sequence[str] = (),
    ) -> Any:
        """Return the network from the input ``input``."""
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input", dtype, shape)],
            [helper.make_tensor_value_info(name, out_dtype, sides) for name, sides in outputs.items()],
            self.weights,
        )
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(each, 1) for each in domains)]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, producer_name="pytorch")


def resnet18(side: int = 64, width: int = 16, classes: int = 1000) -> Any:
    """Return a network with the structure of torchvision's resnet18; the original has a width of 64."""
    make = Builder(18)
    fed = make.add("Relu", make.conv("input", 3, width, 7, 2))
    fed = make.add("MaxPool", fed, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inside = width
    for stage, out in enumerate((width, 2 * width, 4 * width, 8 * width)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            branch = make.add("Relu", make.conv(fed, inside, out, 3, stride))
            branch = make.conv(branch, out, out, 3)
            if stride > 1:
                fed = make.conv(fed, inside, out, 1, stride)
            fed, inside = make.add("Relu", make.add("Add", branch, fed)), out
    make.dense(make.pooled(fed), inside, classes, "output")
    return make.model(["batch", 3, side, side], {"output": ["batch", classes]})


def mobilenet_v3(side: int = 64, classes: int = 1000) -> Any:
    """Return a network of mobilenet_v3's blocks: depthwise, squeeze and excitation, hard swish."""
    make = Builder(3)
    fed = make.add("HardSwish", make.conv("input", 3, 16, 3, 2))
    inside = 16
    for expanded, out, kernel, stride in ((16, 16, 3, 2), (72, 24, 3, 2), (88, 24, 3, 1), (96, 40, 5, 2)):
        branch = make.add("HardSwish", make.conv(fed, inside, expanded, 1))
        branch = make.add("HardSwish", make.conv(branch, expanded, expanded, kernel, stride, expanded))
        squeezed = make.add("Relu", make.conv(make.add("GlobalAveragePool", branch), expanded, 8, 1))
        gate = make.add("HardSigmoid", make.conv(squeezed, 8, expanded, 1), alpha=1 / 6, beta=0.5)
        branch = make.conv(make.add("Mul", branch, gate), expanded, out, 1)
        fed = make.add("Add", branch, fed) if stride == 1 and out == inside else branch
        inside = out
    hidden = make.add("HardSwish", make.dense(make.pooled(fed), inside, 128))
    make.dense(hidden, 128, classes, "output", sharpness=100)
    return make.model([1, 3, side, side], {"output": [1, classes]})


def colours(
    layout: str = "nchw",
    dtype: int = TensorProto.FLOAT,
    softmax: bool = True,
    shape: Sequence[int | str] = (),
    normalised: bool = True,
) -> Any:
    """Return a network that tells the five colors of :data:`COLOURS` apart by the mean of all pixels.

    :param normalised: it expects pixels normalized as torchvision does; else from 0 to 255.
    """
    make = Builder()
    fed = make.add("Cast", "input", to=TensorProto.FLOAT) if dtype != TensorProto.FLOAT else "input"
    mean = make.add("ReduceMean", fed, axes=[2, 3] if layout == "nchw" else [1, 2], keepdims=0)
    wanted = (COLOURS - MEAN) / STD if normalised else COLOURS * 255
    sharpness = 1.0 if normalised else 1e-3
    # The smallest distance wins: -(x - c)^2 without x^2, which is the same for all.
    kernel, bias = 2 * wanted * sharpness, -(wanted**2).sum(axis=1) * sharpness
    logits = make.add("Gemm", mean, make.weight(kernel), make.weight(bias), transB=1)
    out = make.add("Softmax", logits, axis=1, output="scores") if softmax else logits
    sides = shape or ([1, 3, 32, 32] if layout == "nchw" else [1, 32, 32, 3])
    return make.model(sides, {out: [sides[0], 5]}, dtype)


def save(model: Any, path: Path, external: str = "") -> Path:
    """Write a network, with its weights in the file `external` next to it if that is given."""
    if external:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(model, path)
    return path
