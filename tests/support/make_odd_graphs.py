"""Makes frozen graphs that are odd in one way each, and what TensorFlow's plain Session gives for each.

Run as a process of its own: ``python make_odd_graphs.py FOLDER``. For every graph it writes ``NAME.pb``, with
``pixels`` in and ``scores`` out, and for those that run ``NAME.npz`` with pixels and their scores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
v1.disable_control_flow_v2()
RANDOM = np.random.default_rng(11)
SIDE, CLASSES = 12, 5


def values(*shape: int, low: float = -1.0) -> np.ndarray:
    return RANDOM.uniform(low, 1, shape).astype(np.float32)


def pixels(dtype: tf.DType = tf.float32) -> tf.Tensor:
    return v1.placeholder(dtype, (1, SIDE, SIDE, 3), name="pixels")


def scores(x: tf.Tensor, classes: int = CLASSES) -> tf.Tensor:
    pooled = tf.cast(tf.reduce_mean(x, [1, 2]), tf.float32)
    return tf.nn.softmax(tf.matmul(pooled, values(pooled.shape[-1], classes)), name="scores")


def layer(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution and its normalisation, which is folded into it."""
    c = kernel.shape[-1]
    y = tf.nn.conv2d(x, kernel, 1, "SAME")
    if x.dtype != tf.float32:
        return tf.nn.relu(y * tf.constant(values(c), x.dtype))
    norm = {"scale": values(c), "offset": values(c), "mean": values(c), "variance": values(c, low=0.1)}
    return tf.nn.relu(v1.nn.fused_batch_norm(y, **norm, epsilon=1e-3, is_training=False)[0])


def cond() -> None:
    """A bright picture is darkened first; the constants of the branches hang on control edges."""
    x = pixels()
    factor = v1.cond(tf.reduce_mean(x) > 0, lambda: tf.constant(-1.0), lambda: tf.constant(0.5))
    scores(layer(x * factor, values(3, 3, 3, 40)))


def map_fn() -> None:
    scores(layer(tf.map_fn(lambda picture: picture * 0.5, pixels()), values(3, 3, 3, 40)))


@tf.function
def halve(x: tf.Tensor) -> tf.Tensor:
    return x * 0.5


def function() -> None:
    scores(layer(halve(pixels()), values(3, 3, 3, 40)))


def unused_function() -> None:
    x = pixels()
    tf.identity(halve(x), name="not_needed")
    scores(layer(x, values(3, 3, 3, 40)))


def by_chance() -> None:
    x = pixels()
    scores(layer(x + v1.random_normal(x.shape), values(3, 3, 3, 40)))


def ordered() -> None:
    """It waits for an operation that counts as having an effect."""
    x = pixels()
    with tf.control_dependencies([tf.raw_ops.Timestamp()]):
        x = x * 0.5
    scores(layer(x, values(3, 3, 3, 40)))


def asserted() -> None:
    """It waits for a check, which contains control flow."""
    x = pixels()
    with tf.control_dependencies([v1.assert_less(x, 1e9)]):
        x = tf.identity(x) * 0.5
    scores(layer(x, values(3, 3, 3, 40)))


def half_weights() -> None:
    """The weights take half the room, and are used as float32."""
    scores(layer(pixels(), tf.cast(tf.constant(values(3, 3, 3, 40), tf.float16), tf.float32)))


def bfloat16_weights() -> None:
    scores(layer(pixels(), tf.cast(tf.constant(values(3, 3, 3, 40), tf.bfloat16), tf.float32)))


def half_network() -> None:
    x = layer(tf.cast(pixels(), tf.float16), tf.constant(values(3, 3, 3, 40), tf.float16))
    tf.cast(scores(x), tf.float16, name="halved")


def half_input() -> None:
    scores(layer(pixels(tf.float16), tf.constant(values(3, 3, 3, 40), tf.float16)))


def damaged_weights() -> None:
    scores(layer(pixels(), np.full((3, 3, 3, 40), np.nan, np.float32)))


def few_scores() -> None:
    scores(layer(pixels(), values(3, 3, 3, 40)))


def many_scores() -> None:
    scores(layer(pixels(), values(3, 3, 3, 40)), classes=1008)


RUN = (unused_function, asserted, half_weights, bfloat16_weights, half_network)
OTHERS = (cond, map_fn, function, by_chance, ordered, half_input, damaged_weights, few_scores, many_scores)


def main(folder: Path) -> None:
    for build in (*RUN, *OTHERS):
        with tf.Graph().as_default() as graph:
            build()
        (folder / f"{build.__name__}.pb").write_bytes(graph.as_graph_def().SerializeToString())
        if build in RUN:
            fed = RANDOM.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
            fetched = "halved:0" if build is half_network else "scores:0"
            with v1.Session(graph=graph) as session:
                got = session.run(fetched, {"pixels:0": fed})
            np.savez(folder / f"{build.__name__}.npz", pixels=fed, scores=got.ravel(), fetched=fetched)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
