"""Freeze a signature of a SavedModel. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from incv3d.config.preprocessing import Interpolation
from incv3d.errors import one_line
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import SAVED_MODEL
from incv3d.models.graph.fold import node_name
from incv3d.models.graph.freeze_formats import FrozenNetwork, accepts_images, declared_by_type
from incv3d.models.graph.freeze_job import FreezeJob, choose, input_shape
from incv3d.models.graph.frozen_graph import cast, plain_functions, plain_nodes, trace
from incv3d.models.graph.graphdef_reader import Node
from incv3d.models.graph.operations import SAVING, check_operations

PREFERRED = "serving_default"
RESTORING = frozenset({"DisableCopyOnRead", "Restore", "RestoreSlice", "RestoreV2", "ShardedFilename"})
"""The part of :data:`SAVING` that loading may run: it reads the variables' own files."""
MetaGraph = Any
Signature = Any


def freeze_saved_model(job: FreezeJob) -> FrozenNetwork:
    """Freeze one signature of a SavedModel: the configured one, else the one that takes pixels.

    :raises ModelError: it cannot be loaded, or its signature, input or output is ambiguous.
    """
    _check_runs_nothing_else(job)
    try:
        loaded = tf.saved_model.load(job.file)
    except Exception as error:  # noqa: BLE001 - a damaged SavedModel can cause any exception
        raise ModelError(f"{job.file}: cannot be loaded as a SavedModel: {one_line(error)}") from None
    name, signature = _choose_signature(job, dict(loaded.signatures))
    takes = _inputs(signature)
    fed = choose(
        job, "input", list(takes) if job.input else [each for each in takes if _accepts_images(takes[each])]
    )
    if len(takes) > 1:
        raise ModelError(f"{job.file}: its signature `{name}` takes {len(takes)} inputs: {', '.join(takes)}")
    if not _accepts_images(takes[fed]):
        raise ModelError(
            f"{job.file}: its signature `{name}` takes {_spell(fed, takes[fed])}, not pixels, and no other "
            f"signature does; export it with one that takes pixels"
        )
    fetched = choose(job, "output", _outputs(job, signature))
    known, dtype = takes[fed].shape, takes[fed].dtype
    shape = input_shape(job, fed, None if known.rank is None else known.as_list())
    graph = trace(lambda pixels: signature(**{fed: cast(pixels, dtype)})[fetched], shape, job)
    is_tensorflow_1 = str(loaded.tensorflow_version).startswith("1.")
    interpolation: Interpolation | None = "bilinear" if is_tensorflow_1 else None
    return FrozenNetwork(graph, shape, declared_by_type(dtype), interpolation)


def _choose_signature(job: FreezeJob, signatures: dict[str, Signature]) -> tuple[str, Signature]:
    if not signatures:
        raise ModelError(
            f"{job.file}: the SavedModel has no signature; export it with one (Keras' model.export)"
        )
    listed = "; ".join(
        f"{name} ({', '.join(_spell(*each) for each in _inputs(signature).items())})"
        for name, signature in signatures.items()
    )
    if job.signature:
        if job.signature not in signatures:
            raise ModelError(f"{job.file}: there is no signature `{job.signature}`; found: {listed}")
        return job.signature, signatures[job.signature]
    fitting = [
        name
        for name, signature in signatures.items()
        if any(
            job.input == tensor if job.input else _accepts_images(spec)
            for tensor, spec in _inputs(signature).items()
        )
    ]
    if PREFERRED in fitting or len(fitting) == 1:
        name = PREFERRED if PREFERRED in fitting else fitting[0]
        return name, signatures[name]
    if not fitting:
        wanted = f"takes `{job.input}`" if job.input else "takes pixels"
        raise ModelError(f"{job.file}: no signature of the SavedModel {wanted}; found: {listed}")
    raise ModelError(f"{job.file}: the signature is ambiguous; set custom.signature to one of: {listed}")


def _inputs(signature: Signature) -> dict[str, Any]:
    takes: dict[str, Any] = signature.structured_input_signature[1]
    return takes


def _outputs(job: FreezeJob, signature: Signature) -> list[str]:
    """Return the outputs that may be the scores: floats, and only the two-dimensional ones, if there are
    any."""
    gives: dict[str, Any] = signature.structured_outputs
    if job.output:
        return list(gives)
    numbers = [name for name, spec in gives.items() if spec.dtype.is_floating]
    rows = [name for name in numbers if gives[name].shape.rank == 2]
    return rows or numbers


def _accepts_images(spec: Any) -> bool:
    return accepts_images(spec.dtype, spec.shape.rank)


def _spell(name: str, spec: Any) -> str:
    sides = "x".join("?" if side is None else str(side) for side in spec.shape) if spec.shape.rank else "?"
    return f"{name}: {sides} {spec.dtype.name}"


def _check_runs_nothing_else(job: FreezeJob) -> None:
    """Raise ModelError unless every operation only computes.

    Loading a SavedModel already runs a part of it. Every SavedModel has functions that write its variables to
    files; they are allowed as long as nothing else calls them.
    """
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((Path(job.file) / SAVED_MODEL).read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module differs by version
        raise ModelError(f"{job.file}: its {SAVED_MODEL} is damaged: {one_line(error)}") from None
    for meta in saved.meta_graphs:
        functions = plain_functions(meta.graph_def)
        check_operations(job.file, plain_nodes(meta.graph_def.node), functions, also=SAVING)
        nodes, called = _reachable(meta, set(meta.object_graph_def.concrete_functions), _roots(meta))
        check_operations(job.file, nodes, {name: functions[name] for name in called}, also=set(functions))
        nodes, called = _reachable(meta, set(), [meta.saver_def.restore_op_name])
        check_operations(
            job.file, nodes, {name: functions[name] for name in called}, also=RESTORING | set(functions)
        )


def _roots(meta: MetaGraph) -> list[str]:
    """Return the nodes that signatures and initializers run."""
    roots = [info.name for signature in meta.signature_def.values() for info in signature.outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op", "saved_model_init_op"):
        roots += meta.collection_def[key].node_list.value if key in meta.collection_def else ()
    return roots


def _reachable(meta: MetaGraph, functions: set[str], roots: Iterable[str]) -> tuple[list[Node], set[str]]:
    """Return the nodes that `roots` need, and the functions that these nodes or `functions` call."""
    nodes = {node.name: node for node in meta.graph_def.node}
    library = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    seen: set[str] = set()
    queue = [node_name(root) for root in roots]
    while queue:
        name = queue.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            queue += [node_name(source) for source in nodes[name].input]
    called: set[str] = set()
    waiting = [*functions, *(each for name in seen for each in _calls(nodes[name]))]
    while waiting:
        function = waiting.pop()
        if function in library and function not in called:
            called.add(function)
            waiting += [each for node in library[function] for each in _calls(node)]
    return plain_nodes(nodes[name] for name in seen), called


def _calls(node: Any) -> list[str]:
    named = [node.op]
    for attribute in node.attr.values():
        named += [attribute.func.name, *(each.name for each in attribute.list.func)]
    return [name for name in named if name]
