"""Average-pool few channels instead of many: a 1x1 convolution that follows the pooling goes ahead of it.

Inception's pooling branches average the whole input of a block (768 or 2048 channels) and only then reduce it
to what the branch needs (192). The other way round gives the same numbers, and a fraction of them is pooled:

    input (768) -> AvgPool -> Conv2D 1x1 -> BiasAdd (192) -> ReLU
    input (768) -> Conv2D 1x1 -> BiasAdd (192) -> AvgPool -> ReLU

It is exact in real arithmetic, and in float32 but for rounding. The convolution multiplies the channels of
each place by one matrix, the pooling averages places of one channel: both are linear, and they work on
different dimensions. At the edges TensorFlow averages over the places that there are, padding left out, so
that the weights of every average add up to 1 and the bias comes through it as it is. A ReLU does not: it
stays behind the pooling.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from incv3d.models.graph.fold import Array, NodeDef, consumers_of, node_name

ONE_BY_ONE = [1, 1, 1, 1]


def convolve_before_pooling(
    nodes: dict[str, NodeDef], weights: Mapping[str, Array], kept: Collection[str] = ()
) -> int:
    """Swap every such pair in `nodes` that gains by it; returns how many there were.

    A pair gains by it when the convolution gives fewer channels than it takes and leaves every place where it
    is. What is pooled must not be used by anything else, or it would have to be pooled as well.

    :param nodes: the nodes of a folded graph by their names; changed in place.
    :param weights: the constants' values by the name of their node.
    :param kept: nodes whose values are fed or fetched, and so must stay what they are.
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
    """Pool what `last` gives; `users` take what was pooled."""
    for user in users:
        taken = nodes[user].input
        for position, source in enumerate(taken):
            if node_name(source) == last:
                taken[position] = pool
    nodes[convolution].input[0] = nodes[pool].input[0]
    nodes[pool].input[0] = last
    nodes[pool].attr.pop("_output_shapes", None)  # a note of its maker, which TensorFlow would insist on


def _pools_in_place(node: NodeDef) -> bool:
    """Whether it averages the neighbourhood of every place, edges included, each channel for itself."""
    return (
        node.op == "AvgPool"
        and node.attr["padding"].s == b"SAME"
        and list(node.attr["strides"].list.i) == ONE_BY_ONE
        and _is_channels_last(node)
    )


def _narrows(node: NodeDef, source: str, weights: Mapping[str, Array]) -> bool:
    """Whether it is a 1x1 convolution of `source` that gives fewer channels than it takes."""
    if node.op != "Conv2D" or node_name(node.input[0]) != source:
        return False
    filters = weights.get(node_name(node.input[1]))
    if filters is None or filters.dtype != np.float32:
        return False
    if filters.shape[:2] != (1, 1) or filters.shape[3] >= filters.shape[2]:
        return False
    return (
        list(node.attr["strides"].list.i) == ONE_BY_ONE
        and node.attr["padding"].s in (b"SAME", b"VALID")  # with explicit padding it gives more places
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
