"""A small GraphDef with features, written without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from incv3d.engines.base import SessionSpec
from incv3d.models.graph.graphdef_writer import GraphDefWriter

SIDE, WIDTH, CLASSES = 12, 24, 5
FEATURES = "pool:0"
WEIGHTS, BIAS = (
    np.random.default_rng(4).normal(0, 1, shape).astype(np.float32) for shape in ((WIDTH, CLASSES), CLASSES)
)
"""Of the last layer."""


def write_graph(path: Path) -> SessionSpec:
    """Write a convolution of `WIDTH` channels, their means, a dense layer and a softmax."""
    random = np.random.default_rng(3)
    with path.open("wb") as file:
        graph = GraphDefWriter(file)
        pixels = graph.placeholder("pixels", (1, SIDE, SIDE, 3))
        filters = graph.constant("filters", random.normal(0, 0.4, (3, 3, 3, WIDTH)).astype(np.float32))
        found = graph.node("conv", "Conv2D", pixels, filters, strides=(1, 2, 2, 1), padding=b"SAME")
        found = graph.node("relu", "Relu", found)
        axes = graph.constant("axes", np.array([1, 2], np.int32))
        found = graph.node("pool", "Mean", found, axes, keep_dims=False)
        found = graph.node("dense", "MatMul", found, graph.constant("weights", WEIGHTS))
        found = graph.node("biased", "BiasAdd", found, graph.constant("bias", BIAS))
        graph.node("scores", "Softmax", found)
    return SessionSpec(path, "graphdef", "pixels:0", "scores:0", SIDE, SIDE, 1)
