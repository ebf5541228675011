"""Infer the pixel range of a network's input from its first layers. Imports TensorFlow.

Most networks are saved with a part of their preprocessing: a Rescaling or Normalization layer, ``x / 127.5 -
1``, a hub module's ``x * 2 - 1``, or all of it, starting with a JPEG's bytes. The output of that part has one
of a few usual ranges, which determines the range of its input.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from incv3d.models.graph.core_tensorflow import import_core
from incv3d.models.graph.fold import node_name
from incv3d.models.graph.freeze_job import PIXELS, Array, Shape
from incv3d.models.graph.usual_ranges import Floats, Range, infer_range

tf = import_core()
v1 = tf.compat.v1
GraphDef = Any

POINTWISE = {
    "Add", "AddV2", "AdjustContrastv2", "BiasAdd", "Cast", "CheckNumerics", "ClipByValue", "Concat",
    "ConcatV2", "Div", "EnsureShape", "ExpandDims", "FusedBatchNorm", "FusedBatchNormV2",
    "FusedBatchNormV3", "Identity", "ImageProjectiveTransformV3", "Maximum", "Minimum", "MirrorPad",
    "Mul", "Neg", "Pack", "Pad", "PadV2", "Placeholder", "RealDiv", "Reshape", "ResizeArea",
    "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor", "Reverse", "ReverseV2",
    "ScaleAndTranslate", "Select", "SelectV2", "Slice", "Split", "SplitV", "Squeeze", "StopGradient",
    "StridedSlice", "Sub", "Transpose", "Unpack",
}  # fmt: skip
"""Operations that change only the scale of an image, its size or the order of its values."""
MEASURING = {"Shape", "ShapeN", "Size", "Rank"}


def range_of_first_layers(graph_def: GraphDef, shape: Shape) -> Range | None:
    """Return the pixel range that a frozen graph's first layers expect; None: it cannot be inferred."""
    found = _frontier(graph_def)
    if not found:
        return None
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        try:
            zero, one, white = (
                [
                    _centre(value)
                    for value in session.run(
                        sorted(found), {f"{PIXELS}:0": np.full(shape.dimensions, each, np.float32)}
                    )
                ]
                for each in (0.0, 1.0, 255.0)
            )
        except tf.errors.OpError:
            return None  # the trial run will report the error
    scales = []
    for at_zero, at_one, at_white in zip(zero, one, white, strict=True):
        if not np.allclose(at_white - at_zero, (at_one - at_zero) * 255, rtol=0.05, atol=1e-3):
            return None
        scales.append((at_white, at_zero))
    (at_white, at_zero), *others = scales
    if any(
        white.shape != at_white.shape or not np.allclose(white, at_white) or not np.allclose(zero, at_zero)
        for white, zero in others
    ):
        return None
    return infer_range((at_white - at_zero) / 255, at_zero)


def range_after_decoding(graph: Any, decoded: Any, fed: Any) -> Range | None:
    """Return the values of 0 and 255 at the tensor `fed`, which a graph computes from a decoded image.

    :param decoded: the tensor of uint8, ``(height, width, channels)``, decoded from an image's bytes.
    """
    channels = (decoded.shape[-1] if decoded.shape.rank else None) or 3
    with v1.Session(graph=graph) as session:
        low, high = (
            _centre(session.run(fed, {decoded: np.full((32, 32, channels), each, np.uint8)}))
            for each in (0, 255)
        )
    if np.ptp(low) > 1e-3 or np.ptp(high) > 1e-3 or np.allclose(low, high):
        return None  # differs between channels
    return float(low.mean()), float(high.mean())


def _frontier(graph_def: GraphDef) -> set[str]:
    """Return the inputs of the first operations that are not pointwise."""
    made = {PIXELS}
    found = set()
    nodes = {node.name: node for node in graph_def.node}
    users: dict[str, list[str]] = {}
    for node in graph_def.node:
        for source in node.input:
            users.setdefault(node_name(source), []).append(node.name)
    queue = [PIXELS]
    while queue:
        for name in users.get(queue.pop(), ()):
            node = nodes[name]
            if node.op in POINTWISE and name not in made:
                made.add(name)
                queue.append(name)
    for name in made:
        for user in users.get(name, ()):
            if user not in made and nodes[user].op not in MEASURING:
                found |= {
                    source if ":" in source else f"{source}:0"
                    for source in nodes[user].input
                    if node_name(source) == name and not source.startswith("^")
                }
    return found


def _centre(value: Array) -> Floats:
    """Return the values in the middle of an image, where there is no padding; for anything else, all
    values."""
    numbers: Floats = np.asarray(value, np.float64)
    if numbers.ndim == 4 and numbers.shape[1] in (1, 3) and numbers.shape[3] not in (1, 3):
        numbers = numbers[0, :, numbers.shape[2] // 2, numbers.shape[3] // 2]
    elif numbers.ndim == 4:
        numbers = numbers[0, numbers.shape[1] // 2, numbers.shape[2] // 2]
    return numbers.ravel()
