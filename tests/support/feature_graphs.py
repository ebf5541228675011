"""Small networks with features, written without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flatbuffers_by_hand import SIDE as SMALL
from flatbuffers_by_hand import Network
from incv3d.engines.base import SessionSpec
from incv3d.models.entry import ModelEntry
from incv3d.models.graph.graphdef_writer import GraphDefWriter
from incv3d.models.store import FLATBUFFER, GRAPH, LABELS, ONNX, ModelStore, StoredModel

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


def classifier(width: int = WIDTH) -> Network:
    """Return a flatbuffer with that many features and four classes."""
    return Network().convolution("first", width).mean().dense().softmax()


def add(store: ModelStore, made: Network | Path, form: str, outputs: int, **more: object) -> StoredModel:
    """Add a network to the store as an older version did: without an output for features."""
    side = more.pop("side", SMALL)
    entry = ModelEntry(
        format=form, height=side, width=side, mean=128, scale=128, fit="stretch", interpolation="bilinear",
        outputs=outputs, **{"input": "", "output": "", **more},
    )  # fmt: skip
    with store.adding("mine", entry, made_by="somebody") as folder:
        if isinstance(made, Network):
            made.write(folder / FLATBUFFER)
        else:
            made.rename(folder / {"onnx": ONNX, "graphdef": GRAPH}[form])
        (folder / LABELS).write_text("".join(f"{number}\t\tclass {number}\n" for number in range(outputs)))
    return store.get("mine")
