"""Small graphs that are built node by node and run with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from incv3d.models.graph.fold import GraphFolder, node_name

FLOAT, HALF = 1, 19

RANDOM = np.random.default_rng(7)

CHANNELS = 3

Array = np.ndarray


def _node_class() -> Any:
    """TensorFlow's NodeDef (tensorflow/core/framework/node_def.proto), as far as folding looks at it."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="incv3d_folding.proto", package="folding", syntax="proto3")
    value = file.message_type.add(name="AttrValue")
    for name, number, kind in (
        ("s", 2, field.TYPE_BYTES), ("i", 3, field.TYPE_INT64), ("f", 4, field.TYPE_FLOAT),
        ("b", 5, field.TYPE_BOOL), ("type", 6, field.TYPE_INT32),
    ):  # fmt: skip
        value.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    node = file.message_type.add(name="NodeDef")
    for name, number, label in (("name", 1, 1), ("op", 2, 1), ("input", 3, 3), ("device", 4, 1)):
        node.field.add(name=name, number=number, type=field.TYPE_STRING, label=label)
    entry = node.nested_type.add(name="AttrEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=field.TYPE_MESSAGE, type_name=".folding.AttrValue", label=1)
    node.field.add(
        name="attr", number=5, type=field.TYPE_MESSAGE, type_name=".folding.NodeDef.AttrEntry", label=3
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("folding.NodeDef"))


NodeDef = _node_class()


class Graph:
    """A graph that is written down node by node, and run with NumPy."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.weights: dict[str, Array] = {}
        self.add("x", "Placeholder")

    def add(self, name: str, op: str, *inputs: str, **attributes: object) -> str:
        node = NodeDef(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            if value is None:
                continue
            kind = {bool: "b", bytes: "s", float: "f"}.get(type(value), "type")
            setattr(node.attr[key], kind, value)
        self.nodes[name] = node
        return name

    def constant(self, name: str, value: Array) -> str:
        self.weights[name] = np.asarray(value)
        return self.add(name, "Const", dtype=FLOAT)

    def convolution(self, name: str = "conv", op: str = "Conv2D", **attributes: object) -> str:
        last = 2 if op.startswith("Depthwise") else CHANNELS
        kernel = self.constant(f"{name}/kernel", RANDOM.normal(size=(2, 3, 2, last)).astype(np.float32))
        return self.add(name, op, "x", kernel, T=FLOAT, **attributes)

    def norm(
        self, name: str, source: str, channels: int = CHANNELS, op: str = "FusedBatchNormV3", **attributes
    ):
        mean, beta, gamma = (
            self.constant(f"{name}/{each}", some(channels)) for each in ("mean", "beta", "gamma")
        )
        variance = self.constant(f"{name}/variance", some(channels) ** 2 + 0.1)
        order = (gamma, beta, mean, variance) if "Fused" in op else (mean, variance, beta, gamma)
        return self.add(name, op, source, *order, T=attributes.pop("T", FLOAT), **attributes)

    def fold(self, output: str, *kept: str) -> GraphFolder:
        copies = {name: NodeDef.FromString(node.SerializeToString()) for name, node in self.nodes.items()}
        folder = GraphFolder(copies, {name: value.copy() for name, value in self.weights.items()}, NodeDef)
        folder.fold(output, kept)
        return folder

    def folded(self, output: str, *kept: str) -> list[str]:
        """The operations that are left besides constants and the input; they compute what they did."""
        folder = self.fold(output, *kept)
        pixels = RANDOM.normal(size=(1, 4, 4, 2))
        want = run(self.nodes, self.weights, output, pixels)
        got = run(folder.nodes, folder.weights, output, pixels)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        return sorted(node.op for node in folder.nodes.values() if node.op not in ("Const", "Placeholder"))


def some(channels: int = CHANNELS) -> Array:
    return RANDOM.uniform(0.5, 2.0, channels).astype(np.float32)


def windows(pixels: Array, kernel: Array) -> Array:
    """What each place of a kernel lies on, one step after another, without padding."""
    return np.lib.stride_tricks.sliding_window_view(pixels, kernel.shape[:2], (1, 2))


def run(nodes: dict[str, Any], weights: dict[str, Array], output: str, pixels: Array) -> Array:
    """What a graph computes of pixels ``(1, height, width, 2)``."""
    node = nodes[node_name(output)]
    if node.op == "Placeholder":
        return pixels
    if node.op == "Const":
        return weights[node.name].astype(np.float64)
    inputs = [run(nodes, weights, each, pixels) for each in node.input if not each.startswith("^")]
    first, *others = inputs
    match node.op:
        case "Conv2D":
            return np.einsum("nhwcij,ijco->nhwo", windows(first, others[0]), others[0])
        case "DepthwiseConv2dNative":
            got = np.einsum("nhwcij,ijcm->nhwcm", windows(first, others[0]), others[0])
            return got.reshape(*got.shape[:3], -1)
        case "Relu":
            return np.maximum(first, 0)
        case "Mul":
            return first * others[0]
        case "RealDiv":
            return first / others[0]
        case "Sub":
            return first - others[0]
        case "Add" | "AddV2" | "BiasAdd":
            return first + others[0]
        case "Neg":
            return -first
        case "Rsqrt":
            return 1 / np.sqrt(first)
        case "Identity" | "StopGradient" | "Cast":
            return first
        case "Reshape":
            return first.reshape(others[0].astype(int))
        case "BatchNormWithGlobalNormalization":
            mean, variance, beta, gamma = others
            scaled = (first - mean) / np.sqrt(variance + node.attr["variance_epsilon"].f)
            return scaled * (gamma if node.attr["scale_after_normalization"].b else 1) + beta
        case "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3":
            gamma, beta, mean, variance = others
            if "is_training" not in node.attr or node.attr["is_training"].b:
                mean, variance = first.mean((0, 1, 2)), first.var((0, 1, 2))
            epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
            return (first - mean) / np.sqrt(variance + epsilon) * gamma + beta
    raise AssertionError(node.op)
