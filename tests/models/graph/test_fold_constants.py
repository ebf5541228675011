"""Remove nodes that change nothing, and compute constants once."""

from __future__ import annotations

import numpy as np
import pytest

from incv3d.models.entry import ModelError
from incv3d.models.graph.fold import consumers_of, node_name
from numpy_graphs import CHANNELS, FLOAT, HALF, Graph, some


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
    with pytest.raises(ModelError, match="uses the missing node `missing`"):
        graph.fold("y")
    graph = Graph()
    graph.add("a", "Identity", "b")
    graph.add("b", "Identity", "a")
    graph.add("y", "Relu", "a")
    with pytest.raises(ModelError, match="has a cycle at"):
        graph.fold("y")
    with pytest.raises(ModelError, match="missing node `nothing`"):
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
