"""Flatbuffers made by TensorFlow's own converter, in a process of its own.

usage: make_tflite.py convert GRAPH INPUT OUTPUT SIDE OUT     a frozen graph, batch normalisation folded
       make_tflite.py small FOLDER                            a small network in every kind that is tested
       make_tflite.py wide FOLDER                             a network of 9 MB, with two sets of weights
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from incv3d.models.graph.fold import GraphFolder, node_name

SIDE, CLASSES = 8, 5


def convert(graph: str, fed: str, fetched: str, side: str, out: str) -> None:
    """Convert what lies between the tensors `fed` and `fetched` of a frozen graph."""
    folded = _fold(Path(graph), fed, fetched)
    Path(f"{out}.pb").write_bytes(folded.SerializeToString())
    converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
        f"{out}.pb", [node_name(fed)], [node_name(fetched)], {node_name(fed): [1, int(side), int(side), 3]}
    )
    Path(out).write_bytes(converter.convert())


def _fold(path: Path, fed: str, fetched: str) -> tf.compat.v1.GraphDef:
    # The converter knows no BatchNormWithGlobalNormalization, which the graph of 2015 is full of.
    original = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    nodes = {node.name: node for node in original.node}
    weights = {
        name: tf.make_ndarray(node.attr["value"].tensor) for name, node in nodes.items() if node.op == "Const"
    }
    placeholder = tf.compat.v1.NodeDef(name=node_name(fed), op="Placeholder")
    placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
    nodes[placeholder.name] = placeholder
    folder = GraphFolder(nodes, weights, tf.compat.v1.NodeDef)
    folder.fold(node_name(fetched), [placeholder.name])
    folded = tf.compat.v1.GraphDef(versions=original.versions)
    for name, node in folder.nodes.items():
        kept = folded.node.add()
        kept.CopyFrom(node)
        if name in folder.weights:
            kept.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(folder.weights[name]))
    return folded


class Network(tf.Module):
    """One convolution, one dense layer, a softmax: ``(batch, 8, 8, 3)`` to ``(batch, 5)``."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.kernel = tf.constant(random.normal(0, 0.5, (3, 3, 3, 8)).astype(np.float32))
        self.dense = tf.constant(random.normal(0, 0.5, (8, CLASSES)).astype(np.float32))

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        features = tf.nn.relu6(tf.nn.conv2d(pixels, self.kernel, 2, "SAME"))
        return tf.reduce_mean(features, [1, 2]) @ self.dense

    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(pixels))


class WideNetwork(Network):
    """The same with a layer of 2.4 million weights: as large as networks whose weights are worth mapping."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        self.first = tf.constant(random.normal(0, 0.3, (3, 3, 3, 256)).astype(np.float32))
        self.wide = tf.constant(random.normal(0, 0.02, (3, 3, 256, 1024)).astype(np.float32))
        self.dense = tf.constant(random.normal(0, 0.3, (1024, CLASSES)).astype(np.float32))

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        features = tf.nn.relu6(tf.nn.conv2d(pixels, self.first, 2, "SAME"))
        features = tf.nn.relu6(tf.nn.conv2d(features, self.wide, 1, "SAME"))
        return tf.reduce_mean(features, [1, 2]) @ self.dense


def wide(folder: str) -> None:
    """Write the flatbuffers ``float``, ``other`` (with other weights), ``int8`` and ``int16``."""
    out = Path(folder)
    pixels = np.random.default_rng(5).uniform(-1, 1, (8, SIDE, SIDE, 3)).astype(np.float32)
    for name, seed, ops in (
        ("float", 1, None),
        ("other", 2, None),
        ("int8", 1, tf.lite.OpsSet.TFLITE_BUILTINS_INT8),
        ("int16", 1, tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8),
    ):
        network = WideNetwork(seed)
        converter = _converter(network, network.__call__)
        if ops:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _examples(pixels[:, np.newaxis])
            converter.target_spec.supported_ops = [ops]
            converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(name)
        (out / f"{name}.tflite").write_bytes(converter.convert())


def small(folder: str) -> None:
    """Write one flatbuffer a kind, ``pixels.npy``, and the float network's ``scores.npy`` of them."""
    out, network = Path(folder), Network()
    pixels = np.random.default_rng(5).uniform(-1, 1, (20, SIDE, SIDE, 3)).astype(np.float32)
    np.save(out / "pixels.npy", pixels)
    np.save(out / "scores.npy", network(tf.constant(pixels)).numpy())

    def write(name: str, converter: tf.lite.TFLiteConverter) -> None:
        (out / f"{name}.tflite").write_bytes(converter.convert())

    write("float", _converter(network, network.__call__))
    write("logits", _converter(network, network.logits))
    write("any-batch", _converter(network, network.__call__, batch=None))
    flat = lambda x: network(tf.reshape(x, (1, SIDE, SIDE, 3)))  # noqa: E731
    write("flat", _converter(network, flat, shape=(1, SIDE * SIDE * 3)))
    write("double", _converter(network, lambda x: network(tf.cast(x, tf.float32)), dtype=tf.float64))
    write("nchw", _converter(network, _channels_first(network), shape=(1, 3, SIDE, SIDE)))
    write("bytes", _converter(network, _from_bytes(network), dtype=tf.uint8))
    write("map", _converter(network, lambda x: tf.nn.conv2d(x, network.kernel, 2, "SAME")))
    write("two-inputs", _two_inputs(network))
    flex = _converter(network, lambda x: network(tf.raw_ops.Roll(input=x, shift=[1], axis=[1])))
    flex.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    write("flex", flex)
    custom = _converter(network, lambda x: network(tf.raw_ops.AdjustSaturation(images=x, scale=1.5)))
    custom.allow_custom_ops = True
    write("custom", custom)
    # From -1 to 127/128 exactly, which makes the scale of the input 1/128.
    calibration = np.random.default_rng(7).uniform(-1, 1, (64, 1, SIDE, SIDE, 3)).astype(np.float32)
    calibration = calibration.clip(-1, 127 / 128)
    calibration[:, 0, 0, 0, 0], calibration[:, 0, 0, 0, 1] = -1, 127 / 128
    for name, dtype, ops in (
        ("int8-inside", tf.float32, tf.lite.OpsSet.TFLITE_BUILTINS_INT8),
        ("int8", tf.int8, tf.lite.OpsSet.TFLITE_BUILTINS_INT8),
        ("uint8", tf.uint8, tf.lite.OpsSet.TFLITE_BUILTINS_INT8),
        (
            "int16",
            tf.int16,
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        ),
    ):
        quantised = _converter(network, network.__call__)
        quantised.optimizations = [tf.lite.Optimize.DEFAULT]
        quantised.representative_dataset = lambda: _examples(calibration)
        quantised.target_spec.supported_ops = [ops]
        quantised.inference_input_type = quantised.inference_output_type = dtype
        write(name, quantised)


def _examples(pixels: np.ndarray) -> Iterator[list[np.ndarray]]:
    for each in pixels:
        yield [each]


def _converter(network, function, batch=1, shape=None, dtype=tf.float32) -> tf.lite.TFLiteConverter:
    spec = tf.TensorSpec(shape or (batch, SIDE, SIDE, 3), dtype, name="pixels")
    concrete = tf.function(lambda pixels: {"scores": function(pixels)}).get_concrete_function(spec)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], network)


def _channels_first(network: Network) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: network(tf.transpose(x, (0, 2, 3, 1)))


def _from_bytes(network: Network) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: network((tf.cast(x, tf.float32) - 128) / 128)


def _two_inputs(network: Network) -> tf.lite.TFLiteConverter:
    spec = tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32)
    concrete = tf.function(
        lambda left, right: {"probabilities": network(left + right), "logits": network.logits(left + right)}
    ).get_concrete_function(spec, spec)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], network)


if __name__ == "__main__":
    {"convert": convert, "small": small, "wide": wide}[sys.argv[1]](*sys.argv[2:])
