"""Convert a function of pixels, or a graph with functions, to a flat frozen graph. Imports TensorFlow.

The graph's input is ``incv3d/pixels``, its output ``incv3d/scores``; see :mod:`incv3d.models.graph.freeze`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from incv3d.errors import one_line
from incv3d.models.entry import ModelError
from incv3d.models.graph.core_tensorflow import import_core
from incv3d.models.graph.fold import node_name
from incv3d.models.graph.freeze_job import PIXELS, SCORES, Array, FreezeJob, Run, Shape
from incv3d.models.graph.graphdef_reader import Node
from incv3d.models.graph.operations import check_operations

tf = import_core()
v1 = tf.compat.v1
GraphDef = Any
"""``tensorflow.compat.v1.GraphDef``; TensorFlow has no types for it."""
CHANGES_STATE = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})
UNIFORM = frozenset({"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"})
"""Operations that draw from [0, 1) in the shape given by their first input."""
NORMAL = frozenset(
    {
        "RandomStandardNormal",
        "StatelessRandomNormal",
        "StatelessRandomNormalV2",
        "StatelessTruncatedNormal",
        "StatelessTruncatedNormalV2",
        "TruncatedNormal",
    }
)
MIDDLE = 0.500001
"""Slightly more than one half, so that an augmentation with a probability of one half does nothing."""
AUGMENTATION_DRAWS = 16
"""An augmentation draws a few numbers per image; dropout and noise draw one for each value of a layer."""


def cast(pixels: Any, dtype: Any) -> Any:
    """Return `pixels` in the network's input type."""
    return tf.cast(tf.round(pixels) if dtype.is_integer else pixels, dtype)


def trace(call: Callable[[Any], Any], shape: Shape, job: FreezeJob) -> GraphDef:
    """Freeze a function of pixels: turn its variables into constants and inline its calls.

    :raises ModelError: it does not accept an image, or cannot be frozen.
    """

    def named(pixels: Any) -> Any:
        return tf.identity(tf.cast(call(pixels), tf.float32))

    try:
        concrete = tf.function(named).get_concrete_function(tf.TensorSpec(shape.dimensions, tf.float32))
        fed, fetched = concrete.inputs[0].op.name, concrete.outputs[0].op.name
        graph_def = inline(concrete.graph.as_graph_def(), [fed, fetched])
        variables = {id(variable.handle): variable for variable in concrete.graph.variables}
        graph_def = drop_state_changes(graph_def, fetched, job)
        needed = {node.name for node in graph_def.node}
        captured = {
            inner.op.name: variables.get(id(outer), outer).numpy()
            for outer, inner in concrete.graph.captures
            if inner.op.name in needed and (id(outer) in variables or outer.dtype != tf.resource)
        }
        graph_def = _with_constants(graph_def, fetched, captured)
        with tf.Graph().as_default() as cut:
            pixels = v1.placeholder(tf.float32, shape.dimensions, name=PIXELS)
            (found,) = tf.import_graph_def(
                graph_def, input_map={f"{fed}:0": pixels}, return_elements=[f"{fetched}:0"], name=""
            )
            tf.identity(found, SCORES)
            return extract_subgraph(SCORES, cut.as_graph_def())
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise ModelError(f"{job.file}: it failed on an image: {one_line(error)}") from None


def inline(graph_def: GraphDef, kept: Collection[str]) -> GraphDef:
    """Replace function calls in a graph by the functions' bodies.

    Conditions and loops remain functional operations: lowered to Switch and Merge, they would depend on
    control edges, which every rewrite of the graph would have to preserve.

    :param kept: nodes that must keep their names.
    """
    from tensorflow.python.framework.convert_to_constants import disable_lower_using_switch_merge
    from tensorflow.python.grappler import tf_optimizer

    graph_def = disable_lower_using_switch_merge(graph_def)
    for function in graph_def.library.function:
        if "api_implements" in function.attr:  # another implementation for GPUs, which prevents inlining
            del function.attr["api_implements"]
    meta = v1.MetaGraphDef()
    meta.graph_def.CopyFrom(graph_def)
    meta.collection_def["train_op"].node_list.value.extend(kept)
    config = v1.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1  # includes small graphs
    rewriting.optimizers.append("function")
    rewriting.function_optimization = rewriting.AGGRESSIVE
    return tf_optimizer.OptimizeGraph(config, meta)


def drop_state_changes(graph_def: GraphDef, fetched: str, job: FreezeJob) -> GraphDef:
    """Return the subgraph that `fetched` needs, without operations that only change state for the next run.

    Control edges have no purpose then, and are dropped, too.

    :raises ModelError: a variable is read after it was changed.
    """
    nodes = {node.name: node for node in graph_def.node}
    changing = {name for name, node in nodes.items() if node.op in CHANGES_STATE}
    for node in nodes.values():
        after = [source for source in node.input if node_name(source) in changing]
        if after and node.op == "ReadVariableOp" and _needs(nodes, fetched, node.name):
            raise ModelError(f"{job.file}: it changes its own state while it runs (`{node_name(after[0])}`)")
        kept = [source for source in node.input if not source.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
    return extract_subgraph(fetched, graph_def)


def extract_subgraph(name: str, graph_def: GraphDef) -> GraphDef:
    """Return the subgraph that the node `name` needs."""
    for node in graph_def.node:
        if "_class" in node.attr:  # colocation with another node, which would keep that node
            del node.attr["_class"]
    return v1.graph_util.extract_sub_graph(graph_def, [name])


def replace_random_draws(graph_def: GraphDef, shape: Shape, job: FreezeJob) -> GraphDef:
    """Replace the random numbers of augmentation by the middle of their range, where it has no effect.

    Some exporters, such as Keras 3, leave augmentation enabled.

    :raises ModelError: the scores depend on the random numbers of dropout or noise.
    """
    drawing = [node.name for node in graph_def.node if node.op in UNIFORM | NORMAL]
    if not drawing:
        return graph_def
    settled = _drawn(graph_def, MIDDLE, 0.0)
    pixels = np.random.default_rng(2).uniform(0, 1, shape.dimensions).astype(np.float32)
    low, high = (graph_run(job, _drawn(graph_def, *draws))(pixels) for draws in ((0.2, -1.0), (0.8, 1.0)))
    if not np.allclose(low, high, atol=1e-6):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            for name in drawing:
                drawn = graph.get_operation_by_name(name).outputs[0].shape.num_elements()
                if drawn is None or drawn > AUGMENTATION_DRAWS:
                    raise ModelError(
                        f"{job.file}: its scores are random (`{name}`): it was saved in training mode; "
                        f"save it for inference"
                    )
    return settled


def check_frozen(graph_def: GraphDef, job: FreezeJob) -> None:
    """Raise ModelError unless all operations of the graph and its functions only compute."""
    check_operations(job.file, plain_nodes(graph_def.node), plain_functions(graph_def))


def graph_run(job: FreezeJob, graph_def: GraphDef) -> Run:
    """Return a function that runs the frozen graph once.

    :raises ModelError: TensorFlow cannot import the graph.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    session = v1.Session(graph=graph)

    def run(pixels: Array) -> Array:
        try:
            scores: Array = session.run(f"{SCORES}:0", {f"{PIXELS}:0": pixels})
        except tf.errors.OpError as error:
            raise ModelError(f"{job.file}: TensorFlow cannot run it: {one_line(error)}") from None
        return scores

    return run


def plain_nodes(nodes: Iterable[Any]) -> list[Node]:
    """Return TensorFlow's nodes as those of :mod:`incv3d.models.graph.graphdef_reader`."""
    return [Node(node.name, node.op, tuple(node.input)) for node in nodes]


def plain_functions(graph_def: GraphDef) -> dict[str, list[Node]]:
    """Return the nodes of the functions in a graph's library, by name."""
    return {each.signature.name: plain_nodes(each.node_def) for each in graph_def.library.function}


def _needs(nodes: dict[str, Any], fetched: str, wanted: str) -> bool:
    """Return whether the node `fetched` depends on the values of the node `wanted`."""
    seen, queue = {fetched}, [fetched]
    while queue:
        for source in nodes[queue.pop()].input:
            name = node_name(source)
            if name in nodes and name not in seen and not source.startswith("^"):
                seen.add(name)
                queue.append(name)
    return wanted in seen


def _drawn(graph_def: GraphDef, uniform: float, normal: float) -> GraphDef:
    """Return the graph with every random number replaced by one of these two."""
    settled = v1.GraphDef()
    settled.CopyFrom(graph_def)
    for node in list(settled.node):
        if node.op not in UNIFORM | NORMAL:
            continue
        value = settled.node.add(name=f"{node.name}/drawn", op="Const")
        value.attr["dtype"].CopyFrom(node.attr["dtype"])
        dtype = tf.as_dtype(node.attr["dtype"].type)
        number = uniform if node.op in UNIFORM else normal
        value.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(number, dtype, ()))
        dimensions = node.input[0]
        index_type = node.attr["Tshape" if "Tshape" in node.attr else "T"].type
        node.op = "Fill"
        del node.input[:]
        node.input.extend([dimensions, value.name])
        node.attr.clear()
        node.attr["T"].type = dtype.as_datatype_enum
        node.attr["index_type"].type = index_type or tf.int32.as_datatype_enum
    return extract_subgraph(SCORES, settled)


def _with_constants(graph_def: GraphDef, fetched: str, captured: dict[str, Array]) -> GraphDef:
    """Return the graph with its captured variables and tensors as constants."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_from_session_graph,
    )

    handles = {}
    for node in graph_def.node:
        if node.name not in captured:
            continue
        value = captured[node.name]
        is_variable = node.attr["dtype"].type == tf.resource.as_datatype_enum
        node.op = "VarHandleOp" if is_variable else "Const"
        node.attr.clear()
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        if is_variable:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
            node.attr["shared_name"].s = node.name.encode()
            handles[node.name] = value
        else:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        for name, value in handles.items():
            handle = graph.get_tensor_by_name(f"{name}:0")
            fed = v1.placeholder(value.dtype, value.shape)
            session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=fed), {fed: value})
            # The converter looks for the value under this name.
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=value.dtype, name=f"{name}/Read/ReadVariableOp")
        return convert_variables_to_constants_from_session_graph(session, graph_def, [fetched])
