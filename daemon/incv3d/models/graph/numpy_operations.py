"""Compute the operations of image classifiers with NumPy, as TensorFlow defines them.

They are the reference for converted networks, and compute the constants of a graph. Each takes its node and
its inputs. Images are ``(batch, height, width, channels)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from incv3d.models.graph.fold import ARITHMETIC, FUSED_NORMS, GLOBAL_NORM, PASS_THROUGH, Array
from incv3d.models.graph.plain_graph import TYPES, PlainNode, UnsupportedOperation

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns on the left and on the right."""


def compute(node: PlainNode, inputs: Sequence[Array]) -> Array:
    """Return the first output of `node`.

    :raises UnsupportedOperation: it cannot be computed here.
    """
    function = OPERATIONS.get(node.op)
    if function is None:
        raise unsupported(node)
    try:
        return function(node, *inputs)
    except (ValueError, IndexError, TypeError) as error:
        raise UnsupportedOperation(f"`{node.name}` ({node.op}) cannot be computed: {error}") from None


def unsupported(node: PlainNode, why: str = "") -> UnsupportedOperation:
    """Return the error for a node that cannot be computed or converted here."""
    return UnsupportedOperation(f"not supported: the operation {node.op} (`{node.name}`){why and f': {why}'}")


def strides_of(node: PlainNode) -> tuple[int, int]:
    """Return the vertical and the horizontal stride."""
    return _pair(node, "strides")


def window_of(node: PlainNode) -> tuple[int, int]:
    """Return the height and the width of a pool's window."""
    return _pair(node, "ksize")


def dilations_of(node: PlainNode) -> tuple[int, int]:
    """Return the vertical and the horizontal dilation of a convolution."""
    return _pair(node, "dilations") if "dilations" in node.attr else (1, 1)


def _pair(node: PlainNode, attribute: str) -> tuple[int, int]:
    values = node.attr[attribute].list.i
    if len(values) != 4 or values[0] != 1 or values[3] != 1 or min(values) < 1:
        raise unsupported(node, f"its {attribute} are {values}")
    if node.attr["data_format"].s not in (b"", b"NHWC"):
        raise unsupported(node, "the channels come first")
    return values[1], values[2]


def padding_of(
    node: PlainNode, size: Sequence[int], window: tuple[int, int], dilations: tuple[int, int] = (1, 1)
) -> Padding:
    """Return how many rows and columns the operation pads an image of that height and width with.

    ``SAME`` pads such that ``ceil(size / stride)`` positions result, with the odd row or column below or on
    the right.
    """
    strides, padding = strides_of(node), node.attr["padding"].s
    if padding == b"VALID":
        return (0, 0), (0, 0)
    if padding == b"EXPLICIT" and node.op == "Conv2D":
        above = node.attr["explicit_paddings"].list.i
        if len(above) != 8 or any((*above[:2], *above[6:])):
            raise unsupported(node, f"its explicit paddings are {above}")
        return (above[2], above[3]), (above[4], above[5])
    if padding != b"SAME":
        raise unsupported(node, f"its padding is {padding.decode('utf-8', 'replace')}")
    found = []
    for side, stride, covered, dilation in zip(size, strides, window, dilations, strict=True):
        reach = (covered - 1) * dilation + 1
        missing = max((-(-side // stride) - 1) * stride + reach - side, 0)
        found.append((missing // 2, missing - missing // 2))
    return found[0], found[1]


def axes_of(axes: Array, rank: int) -> tuple[int, ...]:
    """Return axes, which may count from the last one, as non-negative numbers."""
    return tuple(int(axis) % rank for axis in np.ravel(axes))


def _windows(
    node: PlainNode, image: Array, window: tuple[int, int], fill: float, dilations: tuple[int, int] = (1, 1)
) -> list[Array]:
    """Return the padded image as seen by each position of the window, row by row: views."""
    padding, strides = padding_of(node, image.shape[1:3], window, dilations), strides_of(node)
    if any(map(any, padding)):
        image = np.pad(image, ((0, 0), *padding, (0, 0)), constant_values=fill)
    count = [
        (side - (covered - 1) * dilation - 1) // stride + 1
        for side, covered, dilation, stride in zip(image.shape[1:3], window, dilations, strides, strict=True)
    ]
    if min(count) < 1:
        raise ValueError("its window is larger than the image")
    seen = []
    for row in range(window[0]):
        for column in range(window[1]):
            top, left = row * dilations[0], column * dilations[1]
            rows = slice(top, top + (count[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (count[1] - 1) * strides[1] + 1, strides[1])
            seen.append(image[:, rows, columns])
    return seen


def _convolution(node: PlainNode, image: Array, kernel: Array) -> Array:
    if image.shape[3] != kernel.shape[2]:
        raise unsupported(node, "it has groups")
    window: tuple[int, int] = kernel.shape[:2]
    total: Array | None = None
    for seen, weights in zip(
        _windows(node, image, window, 0, dilations_of(node)),
        kernel.reshape(-1, *kernel.shape[2:]),
        strict=True,
    ):
        part = seen.reshape(-1, seen.shape[3]) @ np.require(weights, requirements="A")
        part = part.reshape(*seen.shape[:3], -1)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def _depthwise(node: PlainNode, image: Array, kernel: Array) -> Array:
    window: tuple[int, int] = kernel.shape[:2]
    total: Array | None = None
    for seen, weights in zip(
        _windows(node, image, window, 0, dilations_of(node)),
        kernel.reshape(-1, *kernel.shape[2:]),
        strict=True,
    ):
        part = seen[..., np.newaxis] * weights
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total.reshape(*total.shape[:3], -1)


def _max_pool(node: PlainNode, image: Array) -> Array:
    seen = _windows(node, image, window_of(node), -math.inf)
    largest = seen[0].copy()
    for each in seen[1:]:
        np.maximum(largest, each, out=largest)
    return largest


def _average_pool(node: PlainNode, image: Array) -> Array:
    """Average the existing positions, without those of the padding."""
    window = window_of(node)
    ones = np.ones((1, *image.shape[1:3], 1), np.float32)
    counts = sum(_windows(node, ones, window, 0))
    seen = _windows(node, image, window, 0)
    total = seen[0].copy()
    for each in seen[1:]:
        total += each
    return np.asarray(total / counts)


def _norm(node: PlainNode, image: Array, *others: Array) -> Array:
    if node.op == GLOBAL_NORM:
        mean, variance, beta, gamma = others
        epsilon = node.attr["variance_epsilon"].f
        if not node.attr["scale_after_normalization"].b:
            gamma = np.ones_like(gamma)
    else:
        if "is_training" not in node.attr or node.attr["is_training"].b:
            raise unsupported(node, "it normalizes with the image's own statistics")
        if node.attr["data_format"].s not in (b"", b"NHWC"):
            raise unsupported(node, "the channels come first")
        gamma, beta, mean, variance = others
        epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
    return np.asarray((image - mean) * (gamma / np.sqrt(variance + np.float32(epsilon))) + beta)


def _matmul(node: PlainNode, one: Array, other: Array) -> Array:
    one = one.T if node.attr["transpose_a"].b else one
    return np.asarray(one @ np.require(other.T if node.attr["transpose_b"].b else other, requirements="A"))


def _softmax(node: PlainNode, logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _mean(node: PlainNode, image: Array, axes: Array) -> Array:
    kept = node.attr["keep_dims"].b
    return np.asarray(image.mean(axes_of(axes, image.ndim), keepdims=kept, dtype=image.dtype))


def _squeeze(node: PlainNode, image: Array) -> Array:
    axes = node.attr["squeeze_dims"].list.i or [i for i, side in enumerate(image.shape) if side == 1]
    return image.squeeze(axes_of(np.array(axes), image.ndim))


def _concatenate(node: PlainNode, *inputs: Array) -> Array:
    parts, axis = (inputs[1:], inputs[0]) if node.op == "Concat" else (inputs[:-1], inputs[-1])
    return np.concatenate(parts, int(axis))


def _pad(node: PlainNode, image: Array, paddings: Array, value: Array | float = 0) -> Array:
    return np.pad(image, paddings, constant_values=np.asarray(value, image.dtype))


def _cast(node: PlainNode, value: Array) -> Array:
    target = TYPES.get(node.attr["DstT"].type)
    if target is None:
        raise unsupported(node, f"it casts to type {node.attr['DstT'].type}")
    return value.astype(target, copy=False)


def _strided_slice(node: PlainNode, value: Array, begin: Array, end: Array, strides: Array) -> Array:
    """Slice a vector, as graphs do that take an image's own shape apart."""
    if value.ndim != 1 or begin.size != 1 or node.attr["ellipsis_mask"].i or node.attr["new_axis_mask"].i:
        raise unsupported(node, "it slices more than a vector")
    if node.attr["shrink_axis_mask"].i:
        return np.asarray(value[int(begin[0])])
    first = None if node.attr["begin_mask"].i else int(begin[0])
    last = None if node.attr["end_mask"].i else int(end[0])
    return value[first : last : int(strides[0])]


def _pack(node: PlainNode, *inputs: Array) -> Array:
    return np.stack(inputs, node.attr["axis"].i)


def _leaky(node: PlainNode, x: Array) -> Array:
    alpha = node.attr["alpha"].f if "alpha" in node.attr else 0.2
    return np.where(x >= 0, x, x * np.float32(alpha))


def _kept(node: PlainNode, x: Array, *others: Array) -> Array:
    return x


def _arithmetic(op: str) -> Callable[..., Array]:
    def computed(node: PlainNode, *inputs: Array) -> Array:
        return np.asarray(ARITHMETIC[op](*inputs), inputs[0].dtype)

    return computed


def _channels(node: PlainNode, x: Array, bias: Array) -> Array:
    if node.attr["data_format"].s not in (b"", b"NHWC"):
        raise unsupported(node, "the channels come first")
    return np.asarray(x + bias)


def _sigmoid(node: PlainNode, x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -80, None))))


OPERATIONS: dict[str, Callable[..., Array]] = {
    **{op: _arithmetic(op) for op in ARITHMETIC},
    **dict.fromkeys(PASS_THROUGH, _kept),
    **dict.fromkeys((*FUSED_NORMS, GLOBAL_NORM), _norm),
    "AvgPool": _average_pool,
    "BiasAdd": _channels,
    "Cast": _cast,
    "Concat": _concatenate,
    "ConcatV2": _concatenate,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "ExpandDims": lambda node, x, axis: np.expand_dims(x, int(axis)),
    "LeakyRelu": _leaky,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Maximum": lambda node, x, y: np.maximum(x, y),
    "Mean": _mean,
    "Minimum": lambda node, x, y: np.minimum(x, y),
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad,
    "Relu": lambda node, x: np.maximum(x, 0),
    "Relu6": lambda node, x: np.clip(x, 0, 6),
    "Shape": lambda node, x: np.array(x.shape, TYPES[node.attr["out_type"].type or 3]),
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Tanh": lambda node, x: np.tanh(x),
    "Transpose": lambda node, x, order: x.transpose([int(axis) for axis in order]),
}
"""Operations by their name in TensorFlow. All compute in their inputs' precision."""
