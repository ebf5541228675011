"""Prepare a frozen GraphDef for fast start and low memory.

Run as a child process by :mod:`incv3d.models.prepare`: it imports TensorFlow, whose memory the daemon must
not keep.

The graph is reduced to the nodes that its output needs, batch normalization is folded into the convolutions
(:mod:`incv3d.models.graph.fold`), and convolutions are moved before pooling where that saves work
(:mod:`incv3d.models.graph.pooling`). Then every large constant becomes a variable (``VarHandleOp``,
``ReadVariableOp``) that an ``AssignVariableOp`` fills once through a placeholder: weights outside the graph
are not copied when TensorFlow imports, optimizes and compiles it. The result of TensorFlow's own optimizer
(grappler) is stored, so that the Session need not run it again, if it returns the scores of the original
graph (:mod:`incv3d.models.graph.equivalence`).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from incv3d.engines.prepared_model import (
    ALIGNMENT,
    FORMAT,
    GRAPH,
    INDEX,
    WEIGHTS,
    Index,
    Job,
    Weight,
    preparer_id,
    processor_id,
)
from incv3d.errors import Incv3dError, one_line
from incv3d.machine import trim_heap
from incv3d.models.entry import ModelError
from incv3d.models.files import put, sha256_of
from incv3d.models.graph.core_tensorflow import import_core
from incv3d.models.graph.equivalence import check_equivalence, run_original
from incv3d.models.graph.fold import Array, GraphFolder, node_name
from incv3d.models.graph.graphdef_reader import parse_nodes
from incv3d.models.graph.pooling import convolve_before_pooling
from incv3d.models.graph.structure import check_effects, check_structure
from incv3d.models.prepare import UNPREPARABLE, UNRUNNABLE, UnrunnableError

CPU = "/job:localhost/replica:0/task:0/device:CPU:0"
VARIABLE_FROM_BYTES = 1024
"""Smaller constants stay in the graph: a variable costs a node and a look-up in every run. Zeros do not stay:
the optimizer would drop a bias of zeros, and fuses a convolution with its activation only if there is a
bias."""


def prepare(job: Job) -> Index:
    """Prepare the model and write it to the folder ``job.out``, atomically.

    :raises UnrunnableError: the graph itself cannot classify an image.
    :raises ModelError: the graph cannot be prepared; the Python Session may still run it.
    """
    _check_structure(Path(job.graph), job.jpeg_input or job.input, job.output)
    wanted = run_original(job)
    tf = import_core()
    if job.jpeg_input:
        source = read_graph(tf, Path(job.graph), job.jpeg_input, tf.string, ())
    else:
        source = read_graph(tf, Path(job.graph), job.input, tf.float32, job.input_shape)
    folder, versions = source.folder, source.versions
    kept = [node_name(each) for each in (job.input, job.image_input, job.output) if each]
    check_effects(source.folder.nodes, source.functions, node_name(job.output))
    folder.fold(node_name(job.output), kept)
    convolve_before_pooling(folder.nodes, folder.weights, kept)
    graph, weights = _lean_graph(tf, folder)
    graph.versions.CopyFrom(versions)  # some old operations exist only for graphs of their version
    graph, outputs = _complete(tf, graph, job)
    graph = _optimise(tf, graph, [*kept, *(weight.assign for weight in weights)])
    out = Path(job.out)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        size_bytes = _write_weights(scratch / WEIGHTS, weights, folder.weights)
        serialized = graph.SerializeToString(deterministic=True)
        (scratch / GRAPH).write_bytes(serialized)
        index = Index(
            format=FORMAT,
            source_sha256=job.source_sha256,
            preparer=preparer_id(tf.version.VERSION),
            processor="" if job.portable else processor_id(),
            input=job.input,
            output=job.output,
            input_shape=job.input_shape,
            outputs=outputs,
            jpeg_input=job.jpeg_input,
            image_input=job.image_input,
            graph_bytes=len(serialized),
            weights_bytes=size_bytes,
            weights_sha256=sha256_of(scratch / WEIGHTS),
            weights=tuple(weights),
            # Older versions, which may import an exported model, do not know this field.
            graph_sha256="" if job.portable else sha256_of(scratch / GRAPH),
        )
        (scratch / INDEX).write_bytes(msgspec.json.encode(index))
        del folder, graph, serialized
        trim_heap()
        check_equivalence(scratch, wanted)
        scratch.chmod(0o755)
        put(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return index


def fold_graph(tf: Any, path: Path, fed: str, shape: tuple[int, ...], fetched: str) -> Any:
    """Return the folded GraphDef from tensor `fed` to tensor `fetched`, with its weights as constants.

    :raises ModelError: the graph cannot be read or folded.
    """
    _check_structure(path, fed, fetched)
    source = read_graph(tf, path, fed, tf.float32, shape)
    check_effects(source.folder.nodes, source.functions, node_name(fetched))
    folder = source.folder
    folder.fold(node_name(fetched), [node_name(fed)])
    graph = tf.compat.v1.GraphDef(versions=source.versions)
    for name in list(folder.nodes):  # moved node by node: a copy of all would double the memory
        node = graph.node.add()
        node.CopyFrom(folder.nodes.pop(name))
        if name in folder.weights:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(folder.weights.pop(name)))
    return graph


@dataclass(frozen=True, slots=True)
class Source:
    """A graph read from a file, to be folded."""

    folder: GraphFolder
    versions: Any
    """The versions of its operations: some old ones exist only for graphs of their version."""
    functions: frozenset[str]
    """Names of the functions in its library."""


def read_graph(tf: Any, path: Path, fed: str, dtype: Any, shape: tuple[int, ...]) -> Source:
    """Read the graph and turn the node of the tensor `fed` into a placeholder.

    :raises ModelError: the file is not a GraphDef, or cannot be taken apart.
    """
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module differs by version
        raise ModelError(f"{path}: not a GraphDef: {error}") from None
    functions = frozenset(function.signature.name for function in graph_def.library.function)
    new_node = tf.compat.v1.NodeDef
    nodes: dict[str, Any] = {}
    weights: dict[str, Array] = {}
    for original in graph_def.node:
        node = new_node()
        if original.name == node_name(fed):
            node.name, node.op = original.name, "Placeholder"
            node.attr["dtype"].type = dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        elif original.op == "Const":
            # The value stays in the original: a copy in every node would double the memory.
            node.name, node.op = original.name, "Const"
            node.input.extend(original.input)
            node.attr["dtype"].type = original.attr["dtype"].type
            weights[node.name] = tf.make_ndarray(original.attr["value"].tensor)
        else:
            node.CopyFrom(original)
        nodes[node.name] = node
    if node_name(fed) not in nodes:
        raise ModelError(f"{path}: the graph has no node `{node_name(fed)}`")
    return Source(GraphFolder(nodes, weights, new_node), graph_def.versions, functions)


def _check_structure(path: Path, fed: str, fetched: str) -> None:
    try:
        check_structure(parse_nodes(path.read_bytes()), fed, fetched)
    except ValueError as error:
        raise ModelError(f"{path}: not a GraphDef: {error}") from None


def _lean_graph(tf: Any, folder: GraphFolder) -> tuple[Any, list[Weight]]:
    """Return the graph with its large constants as variables, and the location of each weight."""
    graph = tf.compat.v1.GraphDef()
    weights: list[Weight] = []
    offset = 0
    for name, node in folder.nodes.items():
        value = folder.weights.get(name)
        if value is None:
            graph.node.add().CopyFrom(node)
        elif value.dtype == np.float32 and (value.nbytes > VARIABLE_FROM_BYTES or _is_empty_bias(value)):
            weight = Weight(
                name=name,
                offset=offset,
                shape=value.shape,
                feed=f"{name}/incv3d/value",
                assign=f"{name}/incv3d/assign",
            )
            _add_variable(tf, graph, weight)
            weights.append(weight)
            offset += -(-value.nbytes // ALIGNMENT) * ALIGNMENT
        else:
            constant = graph.node.add()
            constant.CopyFrom(node)
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return graph, weights


def _is_empty_bias(value: Array) -> bool:
    return value.ndim == 1 and not value.any()


def _add_variable(tf: Any, graph: Any, weight: Weight) -> None:
    dtype = tf.float32.as_datatype_enum
    shape = tf.TensorShape(weight.shape).as_proto()
    handle_name = f"{weight.name}/incv3d/handle"

    def add(op: str, name: str, *inputs: str, typed: str = "dtype") -> Any:
        node = graph.node.add()
        node.name, node.op = name, op
        node.input.extend(inputs)
        node.attr[typed].type = dtype
        return node

    handle = add("VarHandleOp", handle_name)
    handle.attr["shape"].shape.CopyFrom(shape)
    handle.attr["shared_name"].s = weight.name.encode()
    add("Placeholder", weight.feed).attr["shape"].shape.CopyFrom(shape)
    add("AssignVariableOp", weight.assign, handle_name, weight.feed)
    # The ReadVariableOp takes the constant's name, so that its consumers need not change.
    add("ReadVariableOp", weight.name, handle_name)


def _complete(tf: Any, graph: Any, job: Job) -> tuple[Any, int]:
    """Return the graph with all attributes written out, and the number of its scores.

    Old graphs omit attributes with default values, where the optimizer does not find them.
    """
    with tf.Graph().as_default() as imported:
        try:
            tf.import_graph_def(graph, name="")
            shape = imported.get_tensor_by_name(job.output).shape
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"{job.graph}: {one_line(error)}") from None
    if not shape.is_fully_defined():
        raise ModelError(f"{job.graph}: the shape of `{job.output}` is unknown: {shape}")
    return imported.as_graph_def(), int(np.prod(shape.as_list()))


def _optimise(tf: Any, graph: Any, keep: list[str]) -> Any:
    """Return the graph as optimized by grappler, with the nodes `keep` unchanged."""
    from tensorflow.python.grappler import tf_optimizer

    meta = tf.compat.v1.MetaGraphDef()
    meta.graph_def.CopyFrom(graph)
    for node in meta.graph_def.node:
        # Convolution, bias and activation are fused only if they are known to be on a CPU.
        node.device = CPU
    meta.collection_def["train_op"].node_list.value.extend(keep)
    config = tf.compat.v1.ConfigProto()
    try:
        optimised = tf_optimizer.OptimizeGraph(config, meta)
    except (ValueError, tf.errors.OpError) as error:
        raise ModelError(f"the graph cannot be optimized: {one_line(error)}") from None
    for node in optimised.node:
        node.device = ""
    return optimised


def _write_weights(path: Path, weights: list[Weight], values: dict[str, Array]) -> int:
    with path.open("wb") as file:
        for weight in weights:
            file.write(b"\0" * (weight.offset - file.tell()))
            file.write(np.ascontiguousarray(values[weight.name]).data)
        size_bytes = file.tell()
        file.flush()
        os.fsync(file.fileno())
    return size_bytes


if __name__ == "__main__":
    try:
        prepare(msgspec.json.decode(sys.argv[1], type=Job))
    except Incv3dError as failure:
        print(failure, file=sys.stderr)  # noqa: T201 - the parent process reports it
        sys.exit(UNRUNNABLE if isinstance(failure, UnrunnableError) else UNPREPARABLE)
    except OSError as failure:
        sys.exit(f"the store cannot be written: {failure.strerror}")
