"""Translate TensorFlow's operations to LiteRT's operators: one function per kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from incv3d.models.flatbuffer.translation import Translation, Value, check_type
from incv3d.models.graph.fold import PASS_THROUGH, Array, node_name
from incv3d.models.graph.numpy_operations import (
    compute,
    dilations_of,
    padding_of,
    strides_of,
    unsupported,
    window_of,
)
from incv3d.models.graph.numpy_run import execution_order, sources_of
from incv3d.models.graph.plain_graph import PlainNode, UnsupportedOperation

Operator, Options = schema.BuiltinOperator, schema.BuiltinOptions

BINARY: dict[str, tuple[int, int, type[Any]]] = {
    "Add": (Operator.ADD, Options.AddOptions, schema.AddOptionsT),
    "AddV2": (Operator.ADD, Options.AddOptions, schema.AddOptionsT),
    "BiasAdd": (Operator.ADD, Options.AddOptions, schema.AddOptionsT),
    "Sub": (Operator.SUB, Options.SubOptions, schema.SubOptionsT),
    "Mul": (Operator.MUL, Options.MulOptions, schema.MulOptionsT),
    "RealDiv": (Operator.DIV, Options.DivOptions, schema.DivOptionsT),
}
"""Arithmetic of two tensors that may broadcast; its options name an activation."""
EXTREMES = {"Maximum": Operator.MAXIMUM, "Minimum": Operator.MINIMUM}
UNARY = {
    "Neg": Operator.NEG,
    "Relu": Operator.RELU,
    "Relu6": Operator.RELU6,
    "Rsqrt": Operator.RSQRT,
    "Sigmoid": Operator.LOGISTIC,
    "Sqrt": Operator.SQRT,
    "Tanh": Operator.TANH,
}


def write_network(
    path: Path, nodes: dict[str, PlainNode], weights: dict[str, Array], fed: str, fetched: str,
    shape: tuple[int, ...],
) -> None:  # fmt: skip
    """Write a folded graph as a flatbuffer to the file at `path`.

    :param fed: the tensor for the pixels, of that `shape`.
    :param fetched: the tensor of the scores.
    :raises UnsupportedOperation: the graph has an operation that cannot be translated.
    :raises OSError: the file cannot be written.
    """
    start, end = node_name(fed), node_name(fetched)
    network = Translation(nodes, weights, start, end, shape)
    for name in execution_order(nodes, end, {start, *weights}):
        if not network.is_done(name) and not network.compute_constant(nodes[name]):
            translate(network, nodes[name])
    if end not in network.values or end == start:
        raise UnsupportedOperation("not supported: a graph whose scores do not depend on its pixels")
    network.writer.write(path, network.values[start].tensor, network.values[end].tensor)


def translate(network: Translation, node: PlainNode) -> None:
    """Add the operator for `node`.

    :raises UnsupportedOperation: there is none for it.
    """
    translator = TRANSLATORS.get(node.op)
    if translator is None:
        raise unsupported(node)
    check_type(node)
    try:
        translator(network, node)
    except (ValueError, IndexError) as error:
        raise unsupported(node, str(error)) from None


def _convolution(network: Translation, node: PlainNode) -> None:
    source, kernel = sources_of(node)
    weights = _kernel(network, node, kernel)
    image = network.value(source, node)
    depthwise = node.op == "DepthwiseConv2dNative"
    if len(image.shape) != 4 or weights.ndim != 4 or weights.shape[2] != image.shape[3]:
        raise unsupported(node, f"weights of shape {weights.shape} for an image of shape {image.shape}")
    window, dilations = (weights.shape[0], weights.shape[1]), dilations_of(node)
    if depthwise:
        multiplier = weights.shape[3]
        form, value = "/depthwise", weights.reshape(1, *window, -1)
        shape = _shape_after(node, image, window, value.shape[3], dilations)
    else:
        form, value = "/filters", weights.transpose(3, 0, 1, 2)
        shape = _shape_after(node, image, window, weights.shape[3], dilations)
    names, bias = network.bias_after(node.name, shape)
    names, activation = network.activation_after(names)
    fed, padding = _padded(network, node, image, window, dilations)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    if depthwise:
        options.depthMultiplier = multiplier
    options.padding, options.fusedActivationFunction = padding, activation
    options.strideH, options.strideW = strides_of(node)
    options.dilationHFactor, options.dilationWFactor = dilations
    inputs = [fed, network.weight(kernel, form, value), network.writer.constant(f"{node.name}/bias", bias)]
    code, kind = (
        (Operator.DEPTHWISE_CONV_2D, Options.DepthwiseConv2DOptions)
        if depthwise
        else (Operator.CONV_2D, Options.Conv2DOptions)
    )
    network.writer.operator(code, inputs, network.finish(names, shape), kind, options)


def _kernel(network: Translation, node: PlainNode, name: str) -> Array:
    weights = network.constants.get(name)
    if weights is None or weights.dtype != np.float32:
        raise unsupported(node, "its weights are not constants of float32")
    return weights


def _shape_after(
    node: PlainNode,
    image: Value,
    window: tuple[int, int],
    channels: int,
    dilations: tuple[int, int] = (1, 1),
) -> tuple[int, ...]:
    """Return the shape of an image after a convolution or a pool."""
    padding = padding_of(node, image.shape[1:3], window, dilations)
    sides = [
        (side + sum(pads) - (covered - 1) * dilation - 1) // stride + 1
        for side, pads, covered, dilation, stride in zip(
            image.shape[1:3], padding, window, dilations, strides_of(node), strict=True
        )
    ]
    if min(sides) < 1:
        raise unsupported(node, f"its window is larger than the image of shape {image.shape}")
    return (image.shape[0], *sides, channels)


def _padded(
    network: Translation, node: PlainNode, image: Value, window: tuple[int, int], dilations: tuple[int, int]
) -> tuple[int, int]:
    """Return the tensor that a convolution uses and its kind of padding; explicit padding becomes a PAD."""
    if node.attr["padding"].s == b"SAME":
        return image.tensor, schema.Padding.SAME
    if node.attr["padding"].s == b"EXPLICIT":
        padding = np.array(((0, 0), *padding_of(node, image.shape[1:3], window, dilations), (0, 0)), np.int32)
        shape = [side + int(sum(pads)) for side, pads in zip(image.shape, padding, strict=True)]
        padded = network.writer.tensor(f"{node.name}/padded", shape)
        pads = network.writer.constant(f"{node.name}/paddings", padding)
        network.writer.operator(
            Operator.PAD, [image.tensor, pads], padded, Options.PadOptions, schema.PadOptionsT()
        )
        return padded, schema.Padding.VALID
    return image.tensor, schema.Padding.VALID


def _pool(network: Translation, node: PlainNode) -> None:
    image = network.value(sources_of(node)[0], node)
    window = window_of(node)
    if len(image.shape) != 4:
        raise unsupported(node, f"an image of shape {image.shape}")
    shape = _shape_after(node, image, window, image.shape[3])
    names, activation = network.activation_after([node.name])
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.SAME if node.attr["padding"].s == b"SAME" else schema.Padding.VALID
    options.strideH, options.strideW = strides_of(node)
    options.filterHeight, options.filterWidth = window
    options.fusedActivationFunction = activation
    code = Operator.MAX_POOL_2D if node.op == "MaxPool" else Operator.AVERAGE_POOL_2D
    output = network.finish(names, shape)
    network.writer.operator(code, [image.tensor], output, Options.Pool2DOptions, options)


def _dense(network: Translation, node: PlainNode) -> None:
    source, kernel = sources_of(node)
    weights = _kernel(network, node, kernel)
    row = network.value(source, node)
    if len(row.shape) != 2 or weights.ndim != 2 or node.attr["transpose_a"].b:
        raise unsupported(node, f"weights of shape {weights.shape} for an input of shape {row.shape}")
    weights = weights if node.attr["transpose_b"].b else weights.T  # (outputs, inputs)
    if weights.shape[1] != row.shape[1]:
        raise unsupported(node, f"weights of shape {weights.shape} for an input of shape {row.shape}")
    form = "/rows" if node.attr["transpose_b"].b else "/columns"
    shape = (row.shape[0], weights.shape[0])
    names, bias = network.bias_after(node.name, shape)
    names, activation = network.activation_after(names)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    added = network.writer.constant(f"{node.name}/bias", bias)
    network.writer.operator(
        Operator.FULLY_CONNECTED,
        [row.tensor, network.weight(kernel, form, weights), added],
        network.finish(names, shape),
        Options.FullyConnectedOptions,
        options,
    )


def _binary(network: Translation, node: PlainNode) -> None:
    if node.attr["data_format"].s not in (b"", b"NHWC"):
        raise unsupported(node, "the channels come first")
    one, other = sources_of(node)
    shape = np.broadcast_shapes(network.placeholder(one).shape, network.placeholder(other).shape)
    inputs = [network.operand(one, node), network.operand(other, node)]
    names, activation = network.activation_after([node.name])
    code, kind, make_options = BINARY[node.op]
    options = make_options()
    options.fusedActivationFunction = activation
    network.writer.operator(code, inputs, network.finish(names, shape), kind, options)


def _extreme(network: Translation, node: PlainNode) -> None:
    one, other = sources_of(node)
    shape = np.broadcast_shapes(network.placeholder(one).shape, network.placeholder(other).shape)
    inputs = [network.operand(one, node), network.operand(other, node)]
    output = network.finish([node.name], shape)
    options = schema.MaximumMinimumOptionsT()
    network.writer.operator(EXTREMES[node.op], inputs, output, Options.MaximumMinimumOptions, options)


def _unary(network: Translation, node: PlainNode) -> None:
    value = network.value(sources_of(node)[0], node)
    output = network.finish([node.name], value.shape)
    network.writer.operator(UNARY[node.op], [value.tensor], output)


def _leaky(network: Translation, node: PlainNode) -> None:
    value = network.value(sources_of(node)[0], node)
    options = schema.LeakyReluOptionsT()
    options.alpha = node.attr["alpha"].f if "alpha" in node.attr else 0.2
    output = network.finish([node.name], value.shape)
    network.writer.operator(Operator.LEAKY_RELU, [value.tensor], output, Options.LeakyReluOptions, options)


def _softmax(network: Translation, node: PlainNode) -> None:
    value = network.value(sources_of(node)[0], node)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    output = network.finish([node.name], value.shape)
    network.writer.operator(Operator.SOFTMAX, [value.tensor], output, Options.SoftmaxOptions, options)


def _concatenation(network: Translation, node: PlainNode) -> None:
    sources = sources_of(node)
    parts, axis = (sources[1:], sources[0]) if node.op == "Concat" else (sources[:-1], sources[-1])
    options = schema.ConcatenationOptionsT()
    options.axis = int(network.indices(axis, node)) % len(network.placeholder(parts[0]).shape)
    inputs = [network.operand(each, node) for each in parts]
    output = network.finish([node.name], _shape(network, node))
    network.writer.operator(Operator.CONCATENATION, inputs, output, Options.ConcatenationOptions, options)


def _reshaped(network: Translation, node: PlainNode) -> None:
    """Translate what changes the shape only."""
    value, shape = network.value(sources_of(node)[0], node), _shape(network, node)
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    target = network.writer.constant(f"{node.name}/shape", np.array(shape, np.int32))
    output = network.finish([node.name], shape)
    network.writer.operator(Operator.RESHAPE, [value.tensor, target], output, Options.ReshapeOptions, options)


def _mean(network: Translation, node: PlainNode) -> None:
    options = schema.ReducerOptionsT()
    options.keepDims = node.attr["keep_dims"].b
    rank = len(network.placeholder(sources_of(node)[0]).shape)
    axes = np.atleast_1d(network.indices(sources_of(node)[1], node) % rank)
    _with_indices(network, node, axes, Operator.MEAN, Options.ReducerOptions, options)


def _transpose(network: Translation, node: PlainNode) -> None:
    order = network.indices(sources_of(node)[1], node)
    options = schema.TransposeOptionsT()
    _with_indices(network, node, order, Operator.TRANSPOSE, Options.TransposeOptions, options)


def _pad(network: Translation, node: PlainNode) -> None:
    paddings = network.indices(sources_of(node)[1], node)
    if node.op == "Pad":
        _with_indices(network, node, paddings, Operator.PAD, Options.PadOptions, schema.PadOptionsT())
        return
    filling, options = network.operand(sources_of(node)[2], node), schema.PadV2OptionsT()
    _with_indices(network, node, paddings, Operator.PADV2, Options.PadV2Options, options, filling)


def _with_indices(
    network: Translation, node: PlainNode, indices: Array, code: int, kind: int, options: Any, *others: int
) -> None:
    """Add an operator of one computed tensor and constant integers."""
    value, shape = network.value(sources_of(node)[0], node), _shape(network, node)
    constant = network.writer.constant(f"{node.name}/indices", indices)
    output = network.finish([node.name], shape)
    network.writer.operator(code, [value.tensor, constant, *others], output, kind, options)


def _shape(network: Translation, node: PlainNode) -> tuple[int, ...]:
    """Return the shape of what an operation gives that only moves numbers or averages them."""
    return compute(node, [network.placeholder(each) for each in sources_of(node)]).shape


def _passing(network: Translation, node: PlainNode) -> None:
    """Give the source's value a second name; folding keeps such a node if its result is fetched."""
    network.values[node.name] = network.value(sources_of(node)[0], node)


TRANSLATORS: dict[str, Callable[[Translation, PlainNode], None]] = {
    **dict.fromkeys(PASS_THROUGH, _passing),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(EXTREMES, _extreme),
    **dict.fromkeys(UNARY, _unary),
    "AvgPool": _pool,
    "Concat": _concatenation,
    "ConcatV2": _concatenation,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "ExpandDims": _reshaped,
    "LeakyRelu": _leaky,
    "MatMul": _dense,
    "MaxPool": _pool,
    "Mean": _mean,
    "Pad": _pad,
    "PadV2": _pad,
    "Reshape": _reshaped,
    "Softmax": _softmax,
    "Squeeze": _reshaped,
    "Transpose": _transpose,
}
"""The operations that can be translated, by their name in TensorFlow."""
