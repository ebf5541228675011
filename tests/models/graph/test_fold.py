"""Folding changes the graph and not what it computes: tried on graphs of a few nodes, without TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from incv3d.models.entry import ModelError
from incv3d.models.graph.fold import Folder, consumers_of, node_name

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

    def fold(self, output: str, *kept: str) -> Folder:
        copies = {name: NodeDef.FromString(node.SerializeToString()) for name, node in self.nodes.items()}
        folder = Folder(copies, {name: value.copy() for name, value in self.weights.items()}, NodeDef)
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


@pytest.mark.parametrize(
    ("op", "constant_first", "folds"),
    [
        ("Mul", False, True), ("Mul", True, True), ("Add", False, True), ("Add", True, True),
        ("AddV2", False, True), ("AddV2", True, True), ("Sub", False, True), ("Sub", True, False),
        ("RealDiv", False, True), ("RealDiv", True, False),
    ],
)  # fmt: skip
def test_arithmetic_behind_a_convolution_is_folded_where_it_is_affine(op, constant_first, folds) -> None:
    graph = Graph()
    operands = [graph.convolution(), graph.constant("c", some())]
    graph.add("y", op, *(reversed(operands) if constant_first else operands), T=FLOAT)
    assert graph.folded("y") == (["BiasAdd", "Conv2D"] if folds else sorted(["Conv2D", op]))


def test_a_chain_is_folded_as_a_whole_and_keeps_its_last_name() -> None:
    graph = Graph()
    y = graph.add("y", "BiasAdd", graph.convolution(), graph.constant("a", some()), T=FLOAT)
    y = graph.norm("n", y, is_training=False, epsilon=0.01)
    y = graph.add(
        "s",
        "Sub",
        graph.add("m", "Mul", graph.constant("b", some()), y, T=FLOAT),
        graph.constant("c", some()),
    )
    graph.add("d", "RealDiv", y, graph.constant("e", some()), T=FLOAT)
    graph.add("r", "Relu", "d", T=FLOAT)
    assert graph.folded("r") == ["BiasAdd", "Conv2D", "Relu"]
    folder = graph.fold("r")
    node = folder.nodes["d"]
    assert (node.op, node.attr["T"].type, node.input[0]) == ("BiasAdd", FLOAT, "conv")
    assert folder.nodes[node.input[1]].attr["dtype"].type == FLOAT
    assert {value.dtype for value in folder.weights.values()} == {np.dtype(np.float32)}


def test_a_lone_bias_stays_as_it_is() -> None:
    graph = Graph()
    graph.add("y", "BiasAdd", graph.convolution(), graph.constant("c", some()), T=FLOAT)
    folder = graph.fold("y")
    assert list(folder.nodes["y"].input) == ["conv", "c"] and set(folder.weights) == {"conv/kernel", "c"}


@pytest.mark.parametrize("op", ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
@pytest.mark.parametrize("epsilon", [0.1, None])
def test_a_normalisation_for_inference_is_folded(op: str, epsilon: float | None) -> None:
    graph = Graph()
    graph.norm("y", graph.convolution(), op=op, is_training=False, epsilon=epsilon, data_format=b"NHWC")
    # So little variance that a wrong epsilon shows.
    graph.weights["y/variance"] = np.full(CHANNELS, 1e-3, np.float32)
    assert graph.folded("y") == ["BiasAdd", "Conv2D"]


@pytest.mark.parametrize(
    "attributes",
    [
        {},  # an absent is_training means True
        {"is_training": True},
        {"is_training": False, "data_format": b"NCHW"},
        {"is_training": False, "T": HALF},
    ],
    ids=str,
)
def test_a_normalisation_that_does_more_is_left_alone(attributes: dict[str, object]) -> None:
    for behind_a_convolution in (True, False):
        graph = Graph()
        source, channels = (graph.convolution(), CHANNELS) if behind_a_convolution else ("x", 2)
        graph.norm("y", source, channels, epsilon=0.1, **attributes)
        folder = graph.fold("y")
        assert folder.nodes["y"].op == "FusedBatchNormV3" and "y/scaled" not in folder.nodes
        assert list(folder.nodes["y"].input) == list(graph.nodes["y"].input)


@pytest.mark.parametrize("scales", [True, False])
@pytest.mark.parametrize("behind_a_convolution", [True, False])
def test_the_normalisation_of_2015_is_folded_or_spelled_out(scales: bool, behind_a_convolution: bool) -> None:
    graph = Graph()
    graph.norm(
        "y",
        graph.convolution() if behind_a_convolution else "x",
        CHANNELS if behind_a_convolution else 2,
        op="BatchNormWithGlobalNormalization",
        variance_epsilon=0.25,
        scale_after_normalization=scales,
    )
    assert graph.folded("y") == (["BiasAdd", "Conv2D"] if behind_a_convolution else ["BiasAdd", "Mul"])


def test_a_normalisation_behind_no_convolution_becomes_a_product_and_a_sum() -> None:
    graph = Graph()
    graph.norm("y", graph.add("r", "Relu", "x", T=FLOAT), 2, is_training=False, epsilon=0.25)
    assert graph.folded("y") == ["BiasAdd", "Mul", "Relu"]
    folder = graph.fold("y")
    product = folder.nodes[folder.nodes["y"].input[0]]
    assert product.op == "Mul" and product.attr["T"].type == folder.nodes["y"].attr["T"].type == FLOAT
    assert {value.dtype for value in folder.weights.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("behind_a_convolution", [True, False])
def test_statistics_that_are_computed_cannot_be_folded(behind_a_convolution: bool) -> None:
    graph = Graph()
    graph.norm("y", graph.convolution() if behind_a_convolution else "x", is_training=False, epsilon=0.1)
    graph.add("y/mean", "Placeholder")
    del graph.weights["y/mean"]
    assert graph.fold("y").nodes["y"].op == "FusedBatchNormV3"


def test_a_normalisation_is_not_folded_into_a_convolution_that_gives_its_statistics() -> None:
    graph = Graph()
    graph.norm("y", "x", is_training=False, epsilon=0.1)
    graph.nodes["y"].input[1] = graph.convolution()
    assert graph.fold("y").nodes["conv"].op == "Conv2D"
    assert graph.fold("y").nodes["y"].op == "FusedBatchNormV3"


def test_a_convolution_with_the_channels_first_is_left_alone() -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(data_format=b"NCHW"), graph.constant("c", some()), T=FLOAT)
    before = graph.weights["conv/kernel"].copy()
    folder = graph.fold("y")
    assert folder.nodes["y"].op == "Mul" and (folder.weights["conv/kernel"] == before).all()


def test_a_convolution_of_half_precision_or_of_computed_weights_is_left_alone() -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(data_format=b"NHWC"), graph.constant("c", some()), T=FLOAT)
    assert graph.folded("y") == ["BiasAdd", "Conv2D"]
    graph.weights["conv/kernel"] = graph.weights["conv/kernel"].astype(np.float16)
    assert graph.folded("y") == ["Conv2D", "Mul"]
    del graph.weights["conv/kernel"]
    graph.add("conv/kernel", "Placeholder")
    assert graph.fold("y").nodes["y"].op == "Mul"


def test_a_depthwise_convolution_is_scaled_channel_by_channel() -> None:
    graph = Graph()
    graph.add(
        "y", "Mul", graph.convolution(op="DepthwiseConv2dNative"), graph.constant("c", some(4)), T=FLOAT
    )
    assert graph.folded("y") == ["BiasAdd", "DepthwiseConv2dNative"]


def test_weights_that_two_convolutions_share_stay_as_they_are() -> None:
    graph = Graph()
    first = graph.convolution("a")
    second = graph.add("b", "Conv2D", "x", "a/kernel", T=FLOAT)
    graph.add("m", "Mul", first, graph.constant("c", some()), T=FLOAT)
    graph.add("y", "Add", "m", second, T=FLOAT)
    assert graph.folded("y") == ["Add", "BiasAdd", "Conv2D", "Conv2D"]
    folder = graph.fold("y")
    assert (folder.weights["a/kernel"] == graph.weights["a/kernel"]).all()


def test_weights_of_one_convolution_are_scaled_in_place() -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(), graph.constant("c", some()), T=FLOAT)
    assert set(graph.fold("y").weights) == {"conv/kernel", "y/bias"}, (
        "a second copy would take the memory twice"
    )


def test_what_is_used_twice_is_not_folded_away() -> None:
    graph = Graph()
    graph.add("m", "Mul", graph.convolution(), graph.constant("c", some()), T=FLOAT)
    graph.add("y", "Add", "m", "conv", T=FLOAT)
    assert graph.folded("y") == ["Add", "Conv2D", "Mul"]
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(), "conv", T=FLOAT)
    assert graph.folded("y") == ["Conv2D", "Mul"]


@pytest.mark.parametrize(
    ("value", "folds"),
    [
        (np.float32(0.5), True),
        (np.full((1,), 0.5, np.float32), True),
        (np.full((1, 1, 1, 1, 1), 0.5, np.float32), False),
        (some(), True),
        (some().reshape(1, 1, 1, CHANNELS), True),
        (some().astype(np.float64), True),
        (some().reshape(1, 1, 1, 1, CHANNELS), False),
        (some().reshape(1, CHANNELS, 1, 1), False),
        (some(2 * CHANNELS).reshape(1, 1, 2, CHANNELS), False),
        (np.full(CHANNELS, 2), False),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if hasattr(value, "shape") else "",
)
def test_only_a_number_for_each_channel_or_for_all_is_folded(value: Array, folds: bool) -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(), graph.constant("c", value), T=FLOAT)
    assert graph.folded("y") == (["BiasAdd", "Conv2D"] if folds else ["Conv2D", "Mul"])


def test_nodes_that_change_nothing_go_unless_they_are_kept() -> None:
    graph = Graph()
    graph.add("a", "Identity", "x")
    graph.add("b", "StopGradient", "a")
    graph.add("r", "Relu", "b", "^check", T=FLOAT)
    graph.add("check", "CheckNumerics", "x")
    graph.add("y", "Identity", "r:0")
    graph.add("unused", "Relu", "y")
    graph.constant("left", some())
    folder = graph.fold("y")
    assert set(folder.nodes) == {"x", "r", "y"} and list(folder.nodes["r"].input) == ["x"]
    assert not folder.weights
    assert set(graph.fold("y", "a").nodes) == {"x", "a", "r", "y"}
    assert graph.folded("y", "a", "b") == ["Identity", "Identity", "Relu", "StopGradient"]


def test_a_graph_that_is_not_whole_is_refused() -> None:
    graph = Graph()
    graph.add("y", "Relu", "missing")
    with pytest.raises(ModelError, match="uses `missing`, which is not in it"):
        graph.fold("y")
    graph = Graph()
    graph.add("a", "Identity", "b")
    graph.add("b", "Identity", "a")
    graph.add("y", "Relu", "a")
    with pytest.raises(ModelError, match="goes in circles at"):
        graph.fold("y")
    with pytest.raises(ModelError, match="uses `nothing`"):
        Graph().fold("nothing")


def test_a_long_row_of_nodes_that_change_nothing_is_no_circle() -> None:
    graph = Graph()
    source = "x"
    for number in range(5):
        source = graph.add(f"i{number}", "Identity", source)
    graph.add("y", "Relu", source)
    assert graph.folded("y") == ["Relu"]
    graph = Graph()
    graph.add("y", "Identity", "x")
    assert graph.folded("y") == ["Identity"]


def test_arithmetic_of_constants_is_computed_once() -> None:
    graph = Graph()
    graph.constant("a", some())
    graph.constant("shape", np.array([1, 1, 1, CHANNELS], np.int32))
    graph.add("rsqrt", "Rsqrt", "a", T=FLOAT)
    graph.add("neg", "Neg", "rsqrt", T=FLOAT)
    graph.add("sub", "Sub", "neg", "a", T=FLOAT)
    graph.add("div", "RealDiv", "sub", "a", T=FLOAT)
    graph.add("c", "Reshape", "div", "shape", T=FLOAT)
    graph.add("y", "Mul", graph.convolution(), "c", T=FLOAT)
    assert graph.folded("y") == ["BiasAdd", "Conv2D"]
    alone = graph.fold("c")
    assert list(alone.nodes) == ["c"] and alone.nodes["c"].op == "Const"
    assert alone.nodes["c"].attr["dtype"].type == FLOAT and not alone.nodes["c"].input
    assert alone.weights["c"].dtype == np.float32 and alone.weights["c"].shape == (1, 1, 1, CHANNELS)


TYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, HALF: None}
"""By their numbers in tensorflow/core/framework/types.proto; None: nothing is cast to it."""


@pytest.mark.parametrize("target", TYPES)
def test_constants_are_cast_to_the_types_that_are_computed_with(target: int) -> None:
    graph = Graph()
    graph.constant("a", np.array([1.5, -2.5], np.float16))
    graph.add("c", "Cast", "a", DstT=target, SrcT=HALF)
    folder = graph.fold("c")
    if TYPES[target] is None:
        assert folder.nodes["c"].op == "Cast" and list(folder.weights) == ["a"]
    else:
        assert folder.nodes["c"].op == "Const" and folder.nodes["c"].attr["dtype"].type == target
        assert folder.weights["c"].tolist() == np.array([1.5, -2.5]).astype(TYPES[target]).tolist()
        assert folder.weights["c"].dtype == TYPES[target] and list(folder.weights) == ["c"]


def test_the_order_in_which_nodes_are_listed_does_not_matter() -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(), "c", T=FLOAT)
    graph.add("c", "Neg", "d", T=FLOAT)
    graph.add("d", "Cast", "e", DstT=FLOAT)
    graph.add("e", "Neg", "f", T=FLOAT)
    graph.add("f", "Cast", "g", DstT=FLOAT)
    graph.constant("g", some())
    assert graph.folded("y") == ["BiasAdd", "Conv2D"]


def test_a_number_stays_an_array() -> None:
    graph = Graph()
    graph.constant("a", np.float32(2))
    graph.add("c", "Add", "a", "a", T=FLOAT)
    value = graph.fold("c").weights["c"]
    assert isinstance(value, np.ndarray) and value.dtype == np.float32 and value == 4


def test_what_nothing_needs_does_not_keep_a_convolution_from_being_folded() -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(), graph.constant("c", some()), T=FLOAT)
    graph.add("loose", "Relu", "conv", T=FLOAT)
    assert graph.folded("y") == ["BiasAdd", "Conv2D"]


def test_what_is_computed_from_the_input_is_no_constant() -> None:
    graph = Graph()
    graph.constant("a", some(2))
    graph.add("m", "Mul", "x", "a", T=FLOAT)
    graph.add("y", "Cast", "m", DstT=FLOAT)
    assert graph.folded("y") == ["Cast", "Mul"]


def test_a_name_that_is_taken_is_not_given_to_another_node() -> None:
    graph = Graph()
    graph.add("y", "Mul", graph.convolution(), graph.constant("c", some()), T=FLOAT)
    graph.add("y/bias", "Relu", "y", T=FLOAT)
    graph.add("y/bias_", "Relu", "y/bias", T=FLOAT)
    assert graph.folded("y/bias_") == ["BiasAdd", "Conv2D", "Relu", "Relu"]
    assert graph.fold("y/bias_").nodes["y"].input[1] == "y/bias__"


def test_the_users_of_a_node_are_counted_by_their_inputs() -> None:
    graph = Graph()
    graph.add("y", "Add", "x:0", "x", "^x")
    assert consumers_of(graph.nodes) == {"x": ["y", "y", "y"]}
    assert [node_name(each) for each in ("conv:0", "^conv", "conv", "a/b:12")] == [
        "conv",
        "conv",
        "conv",
        "a/b",
    ]
