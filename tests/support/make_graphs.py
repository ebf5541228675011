"""Makes frozen graphs of several styles, and what TensorFlow's plain Session gives for each.

Run as a process of its own: ``python make_graphs.py FOLDER``. For every graph it writes ``NAME.pb`` and
``NAME.npz`` with the input, and the scores of a plain Session.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

v1 = tf.compat.v1
RANDOM = np.random.default_rng(5)


def values(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def convolve(x: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.nn.conv2d(x, values(3, 3, x.shape[-1], channels), 1, "SAME")


def scores(x: tf.Tensor) -> None:
    pooled = tf.reduce_mean(x, [1, 2])
    tf.nn.softmax(tf.matmul(pooled, values(x.shape[-1], 10)), name="scores")


def fused_norm(x: tf.Tensor, **options: object) -> tf.Tensor:
    c = x.shape[-1]
    parts = {"scale": values(c), "offset": values(c), "mean": values(c), "variance": values(c, low=0.1)}
    return v1.nn.fused_batch_norm(x, **parts, epsilon=1e-3, is_training=False, **options)[0]


def slim(x: tf.Tensor) -> None:
    """Convolution, FusedBatchNormV3, ReLU, as TF-Slim has them; and a norm that follows no convolution."""
    a = tf.nn.relu(fused_norm(convolve(x, 40)))
    b = tf.nn.relu(fused_norm(convolve(a, 40)))
    joined = tf.concat([a, b], axis=3)
    scores(tf.nn.relu(fused_norm(joined)))


def spelled_out(x: tf.Tensor) -> None:
    """Batch normalisation as arithmetic with computed constants, as old Keras froze it."""
    for channels in (20, 32):
        y = tf.identity(convolve(x, channels))
        factor = tf.math.rsqrt(tf.constant(values(channels, low=0.1)) + 1e-3) * values(channels)
        shift = values(channels) - tf.constant(values(channels)) * factor
        x = tf.nn.relu(y * factor + shift)
    scores(x)


def chained(x: tf.Tensor) -> None:
    """A bias, then a normalisation, a scalar, a division and a subtraction, one after another."""
    y = tf.nn.bias_add(convolve(x, 24), values(24))
    y = fused_norm(y)
    y = (y * 0.5) / values(24, low=0.5, high=2.0) - values(24)
    scores(tf.nn.relu6(values(24) + y))


def depthwise(x: tf.Tensor) -> None:
    """A depthwise convolution of two outputs a channel, and its normalisation."""
    y = tf.nn.relu(fused_norm(convolve(x, 16)))
    y = tf.nn.depthwise_conv2d(y, values(3, 3, 16, 2), [1, 1, 1, 1], "SAME")
    scores(tf.nn.relu(fused_norm(y)))


def not_to_be_folded(x: tf.Tensor) -> None:
    """Weights used twice, an output used twice, and a constant that is not one a channel."""
    kernel = tf.constant(values(3, 3, 3, 12))
    once = fused_norm(tf.nn.conv2d(x, kernel, 1, "SAME"))
    twice = tf.nn.conv2d(x * 0.5, kernel, 1, "SAME")
    side_by_side = fused_norm(twice) + twice
    scores(tf.nn.relu(once * values(12, 12, 1) + side_by_side))


def global_norm(x: tf.Tensor) -> None:
    """The 2015 graph's normalisation, checks and control edges; :func:`as_of_2015` completes it."""
    for number, channels in enumerate((20, 32)):
        parts = [values(channels), values(channels, low=0.1), values(channels), values(channels)]
        with tf.control_dependencies([tf.debugging.check_numerics(x, "x")]):
            x = tf.identity_n([convolve(x, channels), *map(tf.constant, parts)], name=f"norm_{number}")[0]
        x = tf.nn.relu(tf.debugging.check_numerics(x, "y"))
    scores(x)


def as_of_2015(graph_def: object, scale_after: bool) -> None:
    """Turn the nodes ``norm_N`` into an operation that TensorFlow runs, but lets nobody make any more."""
    graph_def.versions.producer = 8
    for node in graph_def.node:
        if node.name.startswith("norm_") and node.op == "IdentityN":
            node.op = "BatchNormWithGlobalNormalization"
            node.attr.clear()
            node.attr["T"].type = tf.float32.as_datatype_enum
            node.attr["variance_epsilon"].f = 1e-3
            node.attr["scale_after_normalization"].b = scale_after


BUILDERS: dict[str, Callable[[tf.Tensor], None]] = {
    "slim": slim,
    "spelled-out": spelled_out,
    "chained": chained,
    "depthwise": depthwise,
    "not-to-be-folded": not_to_be_folded,
    "global-norm": global_norm,
    "global-norm-scaled": global_norm,
}


def write(folder: Path, name: str, graph_def: object, fed: str, fetched: str, side: int) -> None:
    pixels = values(1, side, side, 3)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        got = session.run(fetched, {fed: pixels})
    (folder / f"{name}.pb").write_bytes(graph_def.SerializeToString())
    np.savez(folder / f"{name}.npz", pixels=pixels, scores=got.ravel(), fed=fed, fetched=fetched)


def keras_inception() -> tuple[object, str, str]:
    model = tf.keras.applications.InceptionV3(weights=None)
    for variable in model.variables:
        # Untrained norms are the identity, and would fold into anything without being noticed.
        if "moving_variance" in variable.path or "gamma" in variable.path:
            variable.assign(values(*variable.shape, low=0.5, high=1.5))
        elif "moving_mean" in variable.path or "beta" in variable.path:
            variable.assign(values(*variable.shape, low=-0.1, high=0.1))
    call = tf.function(lambda x: model(x, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((1, 299, 299, 3), tf.float32))
    frozen = convert_variables_to_constants_v2(concrete)
    return frozen.graph.as_graph_def(), frozen.inputs[0].name, frozen.outputs[0].name


def main(folder: Path) -> None:
    for name, build in BUILDERS.items():
        with tf.Graph().as_default() as graph:
            build(v1.placeholder(tf.float32, (1, 12, 12, 3), name="pixels"))
        graph_def = graph.as_graph_def()
        if build is global_norm:
            as_of_2015(graph_def, scale_after=name.endswith("-scaled"))
        write(folder, name, graph_def, "pixels:0", "scores:0", 12)
    write(folder, "keras-inception", *keras_inception(), 299)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
