"""Makes frozen graphs of one layer or a few, and what TensorFlow's plain Session gives for each.

Run as a process of its own: ``python make_layers.py FOLDER``. For every graph it writes ``NAME.pb``, from the
tensor ``pixels:0`` to ``scores:0``, and ``NAME.npz`` with the input and the scores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from make_graphs import fused_norm, v1, values

raw = tf.raw_ops
SHAPE = (1, 11, 14, 4)
"""Of the layers' input: the height and the width differ, and one of them is odd."""


def conv(x: tf.Tensor, height: int, width: int, channels: int, **options: object) -> tf.Tensor:
    options = {"strides": [1, 1, 1, 1], "padding": "SAME"} | options
    return raw.Conv2D(input=x, filter=values(height, width, int(x.shape[-1]), channels), **options)


def depthwise(x: tf.Tensor, height: int, width: int, multiplier: int = 1, **options: object) -> tf.Tensor:
    options = {"strides": [1, 1, 1, 1], "padding": "SAME"} | options
    filters = values(height, width, int(x.shape[-1]), multiplier)
    return raw.DepthwiseConv2dNative(input=x, filter=filters, **options)


def pool(x: tf.Tensor, op: str, height: int, width: int, stride: int, padding: str) -> tf.Tensor:
    window = {"ksize": [1, height, width, 1], "strides": [1, stride, stride, 1], "padding": padding}
    return raw.MaxPool(input=x, **window) if op == "max" else raw.AvgPool(value=x, **window)


def flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, (1, -1))


def shared_output(x: tf.Tensor) -> tf.Tensor:
    y = conv(x, 1, 1, 5)
    return tf.concat([tf.nn.relu(tf.nn.bias_add(y, values(5))), y], 3)


def shared_weights(x: tf.Tensor) -> tf.Tensor:
    filters = tf.constant(values(3, 3, 4, 4))
    y = tf.nn.relu(tf.nn.conv2d(x, filters, 1, "SAME"))
    return fused_norm(tf.nn.conv2d(y, filters, 1, "SAME"))


def residual(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(conv(tf.nn.relu6(conv(x, 3, 3, 6)), 1, 1, 4) + x)


def gated(x: tf.Tensor) -> tf.Tensor:
    """Squeeze and excitation, as in the larger EfficientNets."""
    gate = tf.reduce_mean(x, [1, 2], keepdims=True)
    gate = tf.sigmoid(tf.nn.bias_add(conv(tf.nn.relu(conv(gate, 1, 1, 2)), 1, 1, 4), values(4)))
    return x * gate


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    return x * (tf.nn.relu6(x + 3.0) * (1.0 / 6))


def dense(x: tf.Tensor, transposed: bool, biased: bool) -> tf.Tensor:
    x = tf.reduce_mean(x, [1, 2])
    y = tf.matmul(x, values(*((7, 4) if transposed else (4, 7))), transpose_b=transposed)
    return tf.nn.relu(y + values(1, 7)) if biased else y


def dynamic_flatten(x: tf.Tensor) -> tf.Tensor:
    """As Keras and TF-Slim compute a shape in the graph."""
    batch = tf.strided_slice(tf.shape(x), [0], [1], [1], shrink_axis_mask=1)
    return tf.reshape(tf.reshape(x, tf.stack([batch, -1])), tf.shape(flat(x)))


def late_norm(x: tf.Tensor) -> tf.Tensor:
    """Normalization before the activation and the convolution, as in ResNet v2."""
    return conv(tf.nn.relu(fused_norm(x)), 1, 3, 5)


def half_weights(x: tf.Tensor) -> tf.Tensor:
    filters = tf.constant(values(3, 3, 4, 5).astype(np.float16))
    return tf.nn.bias_add(tf.nn.conv2d(x, tf.cast(filters, tf.float32), 1, "SAME"), values(5))


def wide_bias(x: tf.Tensor) -> tf.Tensor:
    """An addition that adds dimensions is no bias."""
    return flat(flat(x) + values(1, 1, 1, 1))


def scalar_bias(x: tf.Tensor) -> tf.Tensor:
    return conv(x, 2, 2, 1) + tf.constant(0.3)


def grouped(x: tf.Tensor) -> tf.Tensor:
    return raw.Conv2D(input=x, filter=values(1, 1, 2, 6), strides=[1, 1, 1, 1], padding="SAME")


def training_norm(x: tf.Tensor) -> tf.Tensor:
    return v1.nn.fused_batch_norm(x, values(4), values(4), is_training=True)[0]


def double(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.nn.relu(tf.cast(x, tf.float64)), tf.float32)


SUPPORTED: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "same": lambda x: conv(x, 3, 3, 5),
    "valid": lambda x: conv(x, 3, 2, 5, padding="VALID"),
    "same-stride": lambda x: conv(x, 3, 3, 5, strides=[1, 2, 2, 1]),
    "other-stride": lambda x: conv(x, 2, 5, 5, strides=[1, 3, 2, 1]),
    "valid-stride": lambda x: conv(x, 3, 3, 5, strides=[1, 2, 2, 1], padding="VALID"),
    "one-by-seven": lambda x: conv(conv(x, 1, 7, 5), 7, 1, 6),
    "one-by-one-stride": lambda x: conv(x, 1, 1, 5, strides=[1, 2, 2, 1]),
    "explicit": lambda x: conv(
        x, 3, 3, 5, strides=[1, 2, 2, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0]
    ),
    "dilated": lambda x: conv(x, 3, 3, 5, dilations=[1, 2, 3, 1]),
    "bias-relu": lambda x: tf.nn.relu(tf.nn.bias_add(conv(x, 3, 3, 5), values(5))),
    "bias-relu6": lambda x: tf.nn.relu6(values(1, 1, 1, 5) + conv(x, 3, 3, 5)),
    "norm-relu": lambda x: tf.nn.relu(fused_norm(conv(x, 3, 3, 5))),
    "scalar-bias": scalar_bias,
    "shared-output": shared_output,
    "shared-weights": shared_weights,
    "half-weights": half_weights,
    "depthwise": lambda x: tf.nn.relu6(fused_norm(depthwise(x, 3, 3))),
    "depthwise-stride": lambda x: depthwise(x, 5, 5, strides=[1, 2, 2, 1]),
    "depthwise-two": lambda x: tf.nn.bias_add(depthwise(x, 3, 2, 2, padding="VALID"), values(8)),
    "max-same": lambda x: pool(x, "max", 3, 3, 2, "SAME"),
    "max-valid": lambda x: pool(x - 9.0, "max", 2, 3, 2, "VALID"),
    "average-same": lambda x: pool(x, "average", 3, 3, 1, "SAME"),
    "average-same-stride": lambda x: pool(x, "average", 4, 5, 3, "SAME"),
    "average-valid": lambda x: tf.nn.relu(pool(x, "average", 11, 14, 1, "VALID")),
    "average-then-convolution": lambda x: tf.nn.relu(conv(pool(x, "average", 3, 3, 1, "SAME"), 1, 1, 2)),
    "concatenation": lambda x: tf.concat([x, tf.nn.relu(x), values(*SHAPE)], -1),
    "old-concatenation": lambda x: raw.Concat(concat_dim=2, values=[x, tf.nn.relu(x)]),
    "mean": lambda x: tf.reduce_mean(x, [1, 2]),
    "mean-kept": lambda x: tf.reduce_mean(x, [-3, 2], keepdims=True),
    "mean-of-one-axis": lambda x: tf.reduce_mean(x, 2),
    "dense": lambda x: dense(x, transposed=False, biased=False),
    "dense-transposed": lambda x: dense(x, transposed=True, biased=False),
    "dense-biased": lambda x: dense(x, transposed=False, biased=True),
    "softmax": lambda x: tf.nn.softmax(dense(x, transposed=False, biased=True)),
    "softmax-of-positions": tf.nn.softmax,
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]]),
    "pad-long": lambda x: tf.pad(x, np.array([[0, 0], [1, 2], [0, 3], [0, 1]], np.int64)),
    "pad-value": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 1], [0, 0]], constant_values=1.5),
    "residual": residual,
    "gated": gated,
    "hard-swish": hard_swish,
    "input-scaled": lambda x: conv((x - 0.5) * 2.0, 3, 3, 5),
    "input-mean": lambda x: conv((x - values(4)) / values(4, low=1, high=2), 3, 3, 5),
    "constant-minus": lambda x: 1.0 - x,
    "extremes": lambda x: tf.maximum(tf.minimum(x, values(4)), -0.5),
    "leaky": lambda x: tf.nn.leaky_relu(x, 0.3),
    "functions": lambda x: tf.tanh(x) + tf.sqrt(tf.nn.relu(x) + 1.0) - tf.math.rsqrt(tf.sigmoid(-x)),
    "reshape": lambda x: tf.reshape(x, (1, 14, 11, -1)),
    "squeeze": lambda x: tf.squeeze(pool(x, "average", 11, 14, 1, "VALID"), [1, 2]),
    "squeeze-all": lambda x: tf.squeeze(pool(x, "max", 11, 14, 1, "VALID")),
    "expand": lambda x: tf.expand_dims(tf.expand_dims(tf.reduce_mean(x, [1, 2]), 1), -2) + values(4),
    "transpose": lambda x: conv(tf.transpose(x, [0, 2, 1, 3]), 3, 1, 5),
    "dynamic-flatten": dynamic_flatten,
    "late-norm": late_norm,
    "wide-bias": wide_bias,
    "passing": lambda x: tf.stop_gradient(tf.debugging.check_numerics(tf.identity(x), "x")) * 2.0,
}
UNSUPPORTED: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "digamma": tf.math.digamma,
    "mirrored": lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], "REFLECT"),
    "grouped": grouped,
    "training-norm": training_norm,
    "second-output": lambda x: tf.split(x, 2, 3)[1],
    "weights-computed": lambda x: tf.nn.conv2d(x, tf.reshape(tf.transpose(x), (14, 11, 4, 1)), 1, "SAME"),
    "double": double,
    "no-pixels": lambda x: tf.constant(values(1, 4)),
}


def main(folder: Path) -> None:
    for name, build in {**SUPPORTED, **UNSUPPORTED}.items():
        with tf.Graph().as_default() as graph:
            build_scores = build(v1.placeholder(tf.float32, SHAPE, name="pixels"))
            tf.identity(build_scores, name="scores")
        pixels = values(*SHAPE, low=-3.0, high=3.0)
        with v1.Session(graph=graph) as session:
            scores = session.run("scores:0", {"pixels:0": pixels}) if name != "grouped" else np.zeros(1)
        (folder / f"{name}.pb").write_bytes(graph.as_graph_def().SerializeToString())
        np.savez(folder / f"{name}.npz", pixels=pixels, scores=scores.ravel())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
