"""Makes frozen graphs in which something is averaged and then convolved, and the plain Session's scores.

Run as a process of its own: ``python make_pools.py FOLDER``. For every graph it writes ``NAME.pb`` and
``NAME.npz`` as ``make_graphs.py`` does; the nodes that matter are called ``pool`` and ``convolution``. And it
writes ``swaps.json``: how many convolutions go ahead of a pooling with the channels last, and first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from incv3d.models.graph.pooling import convolve_before_pooling
from make_graphs import fused_norm, scores, v1, values, write

SIDE, CHANNELS, FEW = 9, 24, 8
Builder = Callable[[tf.Tensor], None]
BUILDERS: dict[str, Builder] = {}
AVERAGE = {"ksize": 3, "strides": 1, "padding": "SAME", "name": "pool"}


def graph(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder, which is given 24 channels of 9x9 places, under the name of its graph."""

    def enter(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return enter


def convolve(x: tf.Tensor, channels: int = FEW, side: int = 1, **options: object) -> tf.Tensor:
    filters = values(side, side, x.shape[-1], channels)
    return tf.nn.conv2d(x, filters, **({"strides": 1, "padding": "SAME", "name": "convolution"} | options))


def finish(x: tf.Tensor) -> None:
    scores(tf.nn.relu(tf.nn.bias_add(x, values(x.shape[-1]))))


@graph("block")
def block(x: tf.Tensor) -> None:
    """A block of Inception: a branch that pools, beside one that does not."""
    straight = tf.nn.relu(fused_norm(convolve(x, name="other")))
    pooled = tf.nn.relu(fused_norm(convolve(tf.nn.avg_pool2d(x, **AVERAGE))))
    scores(tf.concat([straight, pooled], axis=3))


@graph("larger-window")
def larger_window(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **(AVERAGE | {"ksize": (5, 2)})), padding="VALID"))


@graph("no-bias")
def no_bias(x: tf.Tensor) -> None:
    scores(tf.nn.relu(convolve(tf.nn.avg_pool2d(x, **AVERAGE))))


@graph("bias-used-twice")
def bias_used_twice(x: tf.Tensor) -> None:
    y = tf.nn.bias_add(convolve(tf.nn.avg_pool2d(x, **AVERAGE)), values(FEW))
    scores(tf.concat([tf.nn.relu(y), tf.nn.sigmoid(y)], axis=3))


@graph("two-in-a-row")
def two_in_a_row(x: tf.Tensor) -> None:
    y = tf.nn.relu(tf.nn.bias_add(convolve(tf.nn.avg_pool2d(x, **AVERAGE)), values(FEW)))
    finish(convolve(tf.nn.avg_pool2d(y, **(AVERAGE | {"name": "pool_2"})), 4, name="convolution_2"))


@graph("pool-used-twice")
def pool_used_twice(x: tf.Tensor) -> None:
    pooled = tf.nn.avg_pool2d(x, **AVERAGE)
    finish(tf.concat([convolve(pooled), pooled], axis=3))


@graph("convolution-used-twice")
def convolution_used_twice(x: tf.Tensor) -> None:
    y = convolve(tf.nn.avg_pool2d(x, **AVERAGE))
    scores(tf.concat([tf.nn.relu(tf.nn.bias_add(y, values(FEW))), tf.nn.sigmoid(y)], axis=3))


@graph("pool-without-edges")
def pool_without_edges(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **(AVERAGE | {"padding": "VALID"}))))


@graph("pool-of-every-second-place")
def pool_of_every_second_place(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **(AVERAGE | {"strides": 2}))))


@graph("strongest-instead-of-average")
def strongest_instead_of_average(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.max_pool2d(x, **AVERAGE)))


@graph("convolution-of-neighbours")
def convolution_of_neighbours(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **AVERAGE), side=3))


@graph("convolution-of-every-second-place")
def convolution_of_every_second_place(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **AVERAGE), strides=2))


@graph("convolution-that-pads")
def convolution_that_pads(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **AVERAGE), padding=[[0, 0], [1, 1], [1, 1], [0, 0]]))


@graph("as-many-channels")
def as_many_channels(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **AVERAGE), CHANNELS))


@graph("more-channels")
def more_channels(x: tf.Tensor) -> None:
    finish(convolve(tf.nn.avg_pool2d(x, **AVERAGE), CHANNELS + 1))


@graph("filters-not-constant")
def filters_not_constant(x: tf.Tensor) -> None:
    filters = tf.reshape(tf.nn.relu(x[0, :FEW, 0]), (1, 1, CHANNELS, FEW))
    pooled = tf.nn.avg_pool2d(x, **AVERAGE)
    finish(tf.nn.conv2d(pooled, filters, strides=1, padding="SAME", name="convolution"))


@graph("convolution-fetched")
def convolution_fetched(x: tf.Tensor) -> None:
    tf.nn.conv2d(tf.nn.avg_pool2d(x, **AVERAGE), values(1, 1, CHANNELS, FEW), 1, "SAME", name="scores")


@graph("bias-fetched")
def bias_fetched(x: tf.Tensor) -> None:
    tf.nn.bias_add(convolve(tf.nn.avg_pool2d(x, **AVERAGE)), values(FEW), name="scores")


def swaps(data_format: str) -> int:
    """Return how many convolutions go ahead of a pooling in a graph of that format.

    Such a graph is not run: few processors can pool with the channels first.
    """
    with tf.Graph().as_default() as made:
        options = {"padding": "SAME", "data_format": data_format, "strides": 1}
        shape = (1, CHANNELS, SIDE, SIDE) if data_format == "NCHW" else (1, SIDE, SIDE, CHANNELS)
        pooled = tf.nn.avg_pool2d(v1.placeholder(tf.float32, shape), 3, **options, name="pool")
        convolved = tf.nn.conv2d(pooled, values(1, 1, CHANNELS, FEW), **options, name="convolution")
        tf.nn.relu(convolved, name="follower")
    nodes = {node.name: node for node in made.as_graph_def().node}
    constants = [node for node in nodes.values() if node.op == "Const"]
    weights = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in constants}
    return convolve_before_pooling(nodes, weights)


def main(folder: Path) -> None:
    for name, build in BUILDERS.items():
        with tf.Graph().as_default() as made:
            pixels = v1.placeholder(tf.float32, (1, SIDE, SIDE, 3), name="pixels")
            x = tf.nn.conv2d(pixels, values(3, 3, 3, CHANNELS), 1, "SAME")
            build(tf.nn.relu(tf.nn.bias_add(x, values(CHANNELS))))
        # With every node's shape noted beside it, as some tools do.
        write(folder, name, made.as_graph_def(add_shapes=True), "pixels:0", "scores:0", SIDE)
    counts = {data_format: swaps(data_format) for data_format in ("NHWC", "NCHW")}
    (folder / "swaps.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
