"""Makes frozen graphs in which something is averaged and then convolved, and the plain Session's scores.

Run as a process of its own: ``python make_pools.py FOLDER``. For every graph it writes ``NAME.pb`` and
``NAME.npz`` as ``make_graphs.py`` does; the nodes that matter are called ``pool`` and ``convolution``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
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


def channels_first() -> tf.compat.v1.GraphDef:
    """It cannot be run on every processor."""
    with tf.Graph().as_default() as made:
        x = v1.placeholder(tf.float32, (1, SIDE, SIDE, 3), name="pixels")
        y = tf.transpose(tf.tile(x, (1, 1, 1, CHANNELS // 3)), (0, 3, 1, 2))
        options = {"padding": "SAME", "data_format": "NCHW", "strides": 1}
        pooled = tf.nn.avg_pool2d(y, 3, **options, name="pool")
        y = tf.nn.conv2d(pooled, values(1, 1, CHANNELS, FEW), **options, name="convolution")
        scores(tf.nn.relu(tf.transpose(y, (0, 2, 3, 1))))
    return made.as_graph_def()


def main(folder: Path) -> None:
    for name, build in BUILDERS.items():
        with tf.Graph().as_default() as made:
            pixels = v1.placeholder(tf.float32, (1, SIDE, SIDE, 3), name="pixels")
            x = tf.nn.conv2d(pixels, values(3, 3, 3, CHANNELS), 1, "SAME")
            build(tf.nn.relu(tf.nn.bias_add(x, values(CHANNELS))))
        # With every node's shape noted beside it, as some tools do.
        write(folder, name, made.as_graph_def(add_shapes=True), "pixels:0", "scores:0", SIDE)
    (folder / "channels-first.pb").write_bytes(channels_first().SerializeToString())
    np.savez(folder / "channels-first.npz", fed="pixels:0", fetched="scores:0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
