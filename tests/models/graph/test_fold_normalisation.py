"""Fold batch normalization into convolutions, or spell it out."""

from __future__ import annotations

import numpy as np
import pytest

from numpy_graphs import CHANNELS, FLOAT, HALF, Graph


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
