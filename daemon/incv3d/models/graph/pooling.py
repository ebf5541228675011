"""Average-pool fewer channels, by moving a 1x1 convolution that follows the pooling before it.

Inception's pooling branches average the whole input of a block (768 or 2048 channels) and only then reduce it
to the branch's width (192). The reverse order yields the same numbers, but pools a fraction of them:

    input (768) -> AvgPool -> Conv2D 1x1 -> BiasAdd (192) -> ReLU
    input (768) -> Conv2D 1x1 -> BiasAdd (192) -> AvgPool -> ReLU

It is exact in real arithmetic, and in float32 except for rounding. The convolution multiplies the channels at
each position by one matrix; the pooling averages positions of one channel. Both are linear, and work on
different dimensions. At the edges TensorFlow averages only existing positions, without padding, so that the
weights of every average add up to 1 and the bias passes through it unchanged. A ReLU would not, and stays
after the pooling.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from incv3d.models.graph.fold import Array, NodeDef, consumers_of, node_name

ONE_BY_ONE = [1, 1, 1, 1]


def convolve_before_pooling(
    nodes: dict[str, NodeDef], weights: Mapping[str, Array], kept: Collection[str] = ()
) -> int:
    """Swap every pair in `nodes` for which it saves work, and return their number.

    It does if the convolution reduces the number of channels and keeps all positions. The pooled tensor must
    have no other consumer, which would need it pooled as well.

    :param nodes: the nodes of a folded graph by name; changed in place.
    :param weights: the values of constants by the name of their node.
    :param kept: nodes that are fed or fetched, whose values must not change.
    """
    swapped = 0
    for pool in [name for name, node in nodes.items() if _pools_in_place(node)]:
        consumers = consumers_of(nodes)
        convolution = _only(consumers, pool)
        if convolution is None or not _narrows(nodes[convolution], pool, weights):
            continue
        follower = _only(consumers, convolution)
        if follower is None:
            continue
        last = follower if _is_bias(nodes[follower], convolution, weights) else convolution
        if {pool, convolution, last}.isdisjoint(kept):
            _swap(nodes, pool, convolution, last, consumers.get(last, []))
            swapped += 1
    return swapped


def _swap(nodes: dict[str, NodeDef], pool: str, convolution: str, last: str, users: Collection[str]) -> None:
    """Pool the output of `last`, and let `users` use the pooled tensor."""
    for user in users:
        taken = nodes[user].input
        for position, source in enumerate(taken):
            if node_name(source) == last:
                taken[position] = pool
    nodes[convolution].input[0] = nodes[pool].input[0]
    nodes[pool].input[0] = last
    nodes[pool].attr.pop("_output_shapes", None)  # a note of the exporter, which TensorFlow would enforce


def _pools_in_place(node: NodeDef) -> bool:
    """Return whether it averages the neighborhood of every position, including edges, per channel."""
    return (
        node.op == "AvgPool"
        and node.attr["padding"].s == b"SAME"
        and list(node.attr["strides"].list.i) == ONE_BY_ONE
        and _is_channels_last(node)
    )


def _narrows(node: NodeDef, source: str, weights: Mapping[str, Array]) -> bool:
    """Return whether it is a 1x1 convolution of `source` that reduces the number of channels."""
    if node.op != "Conv2D" or node_name(node.input[0]) != source:
        return False
    filters = weights.get(node_name(node.input[1]))
    if filters is None or filters.dtype != np.float32:
        return False
    if filters.shape[:2] != (1, 1) or filters.shape[3] >= filters.shape[2]:
        return False
    return (
        list(node.attr["strides"].list.i) == ONE_BY_ONE
        and node.attr["padding"].s in (b"SAME", b"VALID")  # explicit padding adds positions
        and _is_channels_last(node)
    )


def _is_bias(node: NodeDef, source: str, weights: Mapping[str, Array]) -> bool:
    return (
        node.op == "BiasAdd"
        and node_name(node.input[0]) == source
        and node_name(node.input[1]) in weights
        and _is_channels_last(node)
    )


def _is_channels_last(node: NodeDef) -> bool:
    return node.attr["data_format"].s in (b"", b"NHWC")


def _only(consumers: Mapping[str, list[str]], name: str) -> str | None:
    found = consumers.get(name, [])
    return found[0] if len(found) == 1 else None
