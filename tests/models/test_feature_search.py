"""The features of a network are found by its structure, whatever its nodes are called."""

from __future__ import annotations

import pytest

from incv3d.models.feature_search import graph_features
from incv3d.models.graph.graphdef_reader import Node

BODY = (Node("pixels", "Placeholder"), Node("conv", "Conv2D", ("pixels", "filters")))
WEIGHTS = (Node("w", "Const"), Node("weights", "Identity", ("w",)), Node("bias", "Const"))


def found(*nodes: Node, output: str = "scores:0") -> str:
    return graph_features((*nodes, *BODY, *WEIGHTS), "pixels:0", output)


def test_a_dense_layer_takes_them() -> None:
    assert found(
        Node("scores", "Softmax", ("logits",)),
        Node("logits", "BiasAdd", ("dense", "bias")),
        Node("dense", "MatMul", ("flat", "weights", "^conv")),
        Node("flat", "Reshape", ("pool", "shape")),
        Node("pool", "AvgPool", ("conv",)),
        Node("shape", "Const"),
    ) == "flat:0"  # fmt: skip


def test_a_convolution_of_one_pixel_takes_them() -> None:
    assert found(
        Node("pool", "Mean", ("conv", "axes")),
        Node("last", "Conv2D", ("dropped", "weights")),
        Node("dropped", "Identity", ("pool",)),
        Node("biased", "BiasAdd", ("last", "bias")),
        Node("squeezed", "Squeeze", ("biased",)),
        Node("scores", "Softmax", ("squeezed",)),
    ) == "dropped:0"  # fmt: skip


def test_a_shape_that_is_computed_of_the_image_is_no_second_path() -> None:
    assert found(
        Node("shape", "Shape", ("conv",)),
        Node("flat", "Reshape", ("dense", "shape")),
        Node("dense", "_FusedMatMul", ("conv", "weights", "bias")),
        Node("scores", "Sigmoid", ("flat",)),
    ) == "conv:0"  # fmt: skip


def test_another_output_of_an_operation_keeps_its_number() -> None:
    nodes = (Node("halves", "Split", ("axis", "conv")), Node("scores", "MatMul", ("halves:1", "weights")))
    assert found(*nodes) == "halves:1"


@pytest.mark.parametrize(
    "nodes",
    [
        (Node("scores", "Softmax", ("pool",)), Node("pool", "Mean", ("conv", "axes"))),
        (Node("scores", "MatMul", ("conv", "gate")), Node("gate", "Sigmoid", ("conv",))),
        (Node("scores", "MatMul", ("w", "weights")),),
        (Node("scores", "Reshape", ("scores", "w")),),
        (),
    ],
    ids=["no layer after pooling", "two paths", "no pixels", "a cycle", "no scores"],
)
def test_a_network_of_another_structure_has_none(nodes: tuple[Node, ...]) -> None:
    assert found(*nodes) == ""
