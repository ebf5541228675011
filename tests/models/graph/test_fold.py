"""Fold per-channel arithmetic into convolutions, without changing what the graph computes."""

from __future__ import annotations

import numpy as np
import pytest

from numpy_graphs import CHANNELS, FLOAT, Array, Graph, some


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
