"""Run a frozen GraphDef with NumPy, node by node, as the reference for what is made from it.

It takes the graph as it is stored, before anything is folded, and frees every result after its last use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from incv3d.engines.base import Pixels, Scores
from incv3d.models.entry import ModelError
from incv3d.models.graph.fold import Array, node_name
from incv3d.models.graph.numpy_operations import compute
from incv3d.models.graph.plain_graph import PlainGraph, PlainNode, UnsupportedOperation


def run_graph(graph: PlainGraph, fed: str, fetched: str, pixels: Pixels) -> Scores:
    """Return the scores that the tensor `fetched` has when `pixels` are fed as the tensor `fed`.

    :raises UnsupportedOperation: an operation cannot be computed.
    :raises ModelError: a node is missing.
    """
    values: dict[str, Array] = {node_name(fed): pixels}
    order = execution_order(graph.nodes, node_name(fetched), {*values, *graph.weights})
    remaining = Counter(source for name in order for source in sources_of(graph.nodes[name]))
    remaining[node_name(fetched)] += 1
    with np.errstate(all="ignore"):
        for name in order:
            node = graph.nodes[name]
            sources = sources_of(node)
            inputs = [values[each] if each in values else graph.weights[each] for each in sources]
            values[name] = compute(node, inputs)
            del inputs
            for source in sources:
                remaining[source] -= 1
                if not remaining[source]:
                    values.pop(source, None)
    return np.asarray(values[node_name(fetched)], np.float32).reshape(-1)


def execution_order(nodes: Mapping[str, PlainNode], fetched: str, known: Collection[str]) -> list[str]:
    """Return the nodes that `fetched` needs, each after its sources and else in the order of `nodes`.

    :param known: nodes whose values are given.
    :raises ModelError: a node is missing.
    """
    needed, queue = {fetched} - set(known), [fetched]
    while queue:
        name = queue.pop()
        if name in known:
            continue
        if name not in nodes:
            raise ModelError(f"the graph uses the missing node `{name}`")
        for source in sources_of(nodes[name]):
            if source not in needed and source not in known:
                needed.add(source)
                queue.append(source)
    order: list[str] = []
    done = set(known)
    for wanted in nodes:
        stack = [wanted] if wanted in needed else []
        while stack:
            name = stack[-1]
            missing = [] if name in done else [each for each in sources_of(nodes[name]) if each not in done]
            if missing:
                stack += missing
                continue
            stack.pop()
            if name not in done:
                done.add(name)
                order.append(name)
    return order


def sources_of(node: PlainNode) -> list[str]:
    """Return the nodes whose first outputs `node` uses.

    :raises UnsupportedOperation: it uses another output than the first.
    """
    found = []
    for tensor in node.input:
        if tensor.startswith("^"):
            continue
        name, _, output = tensor.partition(":")
        if output not in ("", "0"):
            raise UnsupportedOperation(f"not supported: the output {output} of `{name}`")
        found.append(name)
    return found
