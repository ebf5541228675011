"""Check that a graph can be cut and folded: it must only compute one tensor from others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from incv3d.models.entry import ModelError
from incv3d.models.graph.fold import PASS_THROUGH, NodeDef, node_name
from incv3d.models.graph.graphdef_reader import Node

CONTROL_FLOW = frozenset((
    "Switch", "RefSwitch", "_SwitchN", "Merge", "RefMerge", "Enter", "RefEnter", "Exit", "RefExit",
    "NextIteration", "RefNextIteration", "LoopCond", "If", "StatelessIf", "Case", "StatelessCase", "While",
    "StatelessWhile", "For", "PartitionedCall", "StatefulPartitionedCall", "RemoteCall", "SymbolicGradient",
    "MapDefun",
))  # fmt: skip
"""Operations that decide which operations run, or call functions (tensorflow/core/ops/control_flow_ops.cc,
functional_ops.cc). Only control edges tie the constants of a branch to them."""
HARMLESS = frozenset((*PASS_THROUGH, "Assert", "CheckNumericsV2", "Print", "PrintV2"))
"""Stateful operations that do not affect any score."""


def check_structure(nodes: Iterable[Node], fed: str, fetched: str) -> None:
    """Raise ModelError unless the graph from tensor `fed` to tensor `fetched` can be cut and folded.

    It can if no node is missing, is control flow, or depends on itself. The check takes milliseconds, and
    does not import TensorFlow.
    """
    graph = {node.name: node for node in nodes}
    start, end = node_name(fed), node_name(fetched)
    if start not in graph:
        raise ModelError(f"the graph has no node `{start}`")
    done: set[str] = set()
    entered: set[str] = set()
    stack = [end]
    while stack:
        name = stack[-1]
        if name in entered:
            stack.pop()
            done.add(name)
            continue
        entered.add(name)
        for source in () if name == start else _sources(graph, name):
            if source in entered and source not in done:
                raise ModelError(f"the graph has a cycle at `{source}`")
            if source not in done:
                stack.append(source)


def _sources(graph: dict[str, Node], name: str) -> Iterator[str]:
    """Return the nodes whose tensors the node `name` uses."""
    node = graph.get(name)
    if node is None:
        raise ModelError(f"the graph uses the missing node `{name}`")
    if node.op in CONTROL_FLOW:
        raise ModelError(f"the graph has control flow, which cannot be cut: `{name}` ({node.op})")
    return (node_name(each) for each in node.inputs if not each.startswith("^"))


def check_effects(nodes: Mapping[str, NodeDef], functions: Collection[str], output: str) -> None:
    """Raise ModelError if `output` needs a function, or waits for an operation with a side effect.

    Folding drops control edges, which usually only order checks. Imports TensorFlow for the properties of its
    operations.

    :param functions: names of the functions in the graph.
    """
    from tensorflow.python.framework import op_def_registry

    needed = _reachable(nodes, output, with_order=False)
    called = {each for name in needed for each in _functions_of(nodes[name])}.intersection(functions)
    if called:
        raise ModelError(f"the graph calls a function of its own, which cannot be cut: `{min(called)}`")
    for name in sorted(_reachable(nodes, output, with_order=True) - needed):
        definition = op_def_registry.get(nodes[name].op)
        if definition and definition.is_stateful and nodes[name].op not in HARMLESS:
            raise ModelError(f"the scores wait for `{name}` ({nodes[name].op}), whose effect would be lost")


def _reachable(nodes: Mapping[str, NodeDef], output: str, with_order: bool) -> set[str]:
    """Return the nodes from which `output` is computed and, `with_order`, those that must run before it."""
    found, queue = {output}, [output]
    while queue:
        for source in nodes[queue.pop()].input:
            name = node_name(source)
            if name in nodes and name not in found and (with_order or not source.startswith("^")):
                found.add(name)
                queue.append(name)
    return found


def _functions_of(node: NodeDef) -> Iterator[str]:
    """Yield the names of functions that a node may call."""
    yield node.op
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (each.name for each in attribute.list.func)
