"""Cut a frozen GraphDef down to one input and one output. Imports TensorFlow.

The graph's input is ``incv3d/pixels``, its output ``incv3d/scores``; see :mod:`incv3d.models.graph.freeze`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incv3d.config.preprocessing import Interpolation, Normalisation, from_range
from incv3d.errors import one_line
from incv3d.models.entry import ModelError
from incv3d.models.graph.core_tensorflow import import_core
from incv3d.models.graph.freeze_job import PIXELS, SCORES, FreezeJob, Shape, choose, input_shape
from incv3d.models.graph.frozen_graph import GraphDef, cast, extract_subgraph, inline
from incv3d.models.graph.operations import SAVING, check_graph_file
from incv3d.models.graph.pixel_ranges import range_after_decoding
from incv3d.models.normalisation import from_integers

tf = import_core()
v1 = tf.compat.v1
Tensor = Any
Operation = Any
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "VarIsInitializedOp"}
PLACEHOLDERS = {"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"}
DECODERS = {"DecodeJpeg", "DecodeAndCropJpeg", "DecodePng", "DecodeBmp", "DecodeImage", "DecodeWebP"}
RESIZERS = {"ResizeArea", "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor", "ScaleAndTranslate"}
PICKERS = {"ArgMax", "TopK", "TopKV2", "InTopK", "InTopKV2"}
"""Operations that select from scores: their input may be the network's output."""


@dataclass(frozen=True, slots=True)
class FrozenNetwork:
    """A frozen graph, and the description of its input."""

    graph: GraphDef
    shape: Shape
    declared: Normalisation | None
    """The pixel range that the graph declares; None: unknown."""
    interpolation: Interpolation | None = None
    """The interpolation with which images were resized; None: unknown."""


def freeze_graphdef(job: FreezeJob) -> FrozenNetwork:
    """Cut a GraphDef, which must be frozen already, down to one input and one output.

    A graph that decodes and resizes by itself, as written by ``retrain.py`` in 2017, is cut after that part.

    :raises ModelError: it is not frozen, or its input or output is ambiguous.
    """
    check_graph_file(Path(job.file), Path(job.file), also=SAVING)
    original, graph = _imported(job)
    fetched = graph.get_tensor_by_name(choose(job, "output", _outputs(job, graph)))
    fed, decoded = _fed(job, graph, fetched)
    shape = input_shape(job, fed.name, None if fed.shape.rank is None else fed.shape.as_list())
    with tf.Graph().as_default() as cut:
        pixels = v1.placeholder(tf.float32, shape.dimensions, name=PIXELS)
        feed = {fed.name: cast(pixels, fed.dtype)}
        try:
            (found,) = tf.import_graph_def(original, input_map=feed, return_elements=[fetched.name], name="")
        except (ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{job.file}: `{fed.name}` does not accept images: {one_line(error)}") from None
        tf.identity(tf.cast(found, tf.float32), SCORES)
        graph_def = extract_subgraph(SCORES, cut.as_graph_def())
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault":  # it stands between the halves of a retrained network
            node.op = "Identity"
            node.attr["T"].CopyFrom(node.attr["dtype"])
            del node.attr["dtype"], node.attr["shape"]
    unfed = {node.name for node in graph_def.node if node.op == "Placeholder"} - {PIXELS}
    if unfed:
        raise ModelError(f"{job.file}: `{fetched.name}` also needs `{min(unfed)}`, a second input")
    if not any(node.name == PIXELS for node in graph_def.node):
        raise ModelError(f"{job.file}: `{fetched.name}` does not depend on `{fed.name}`")
    if graph_def.library.function:
        graph_def = extract_subgraph(SCORES, inline(graph_def, [PIXELS, SCORES]))
    # some old operations exist only for graphs of their version
    graph_def.versions.CopyFrom(original.versions)
    own = _own_interpolation(fed)
    if decoded is None:
        declared = declared_by_type(fed.dtype)
    else:
        pixel_range = range_after_decoding(graph, decoded, fed)
        declared = from_range(*pixel_range, "its own decoding") if pixel_range else None
    return FrozenNetwork(graph_def, shape, declared, own)


def declared_by_type(dtype: Any) -> Normalisation | None:
    """Return the normalization implied by an integer input; None for floats."""
    return from_integers(dtype.name) if dtype.is_integer else None


def accepts_images(dtype: Any, rank: int | None) -> bool:
    """Return whether a tensor of this type and rank can take images."""
    return (dtype.is_floating or dtype.is_integer) and rank in (None, 4)


def _imported(job: FreezeJob) -> tuple[GraphDef, Any]:
    original = v1.GraphDef()
    try:
        original.ParseFromString(Path(job.file).read_bytes())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(original, name="")
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module differs by version
        raise ModelError(f"{job.file}: not a graph that TensorFlow can import: {one_line(error)}") from None
    variable = next((node.name for node in original.node if node.op in VARIABLES), None)
    if variable:
        raise ModelError(
            f"{job.file}: not frozen: `{variable}` is a variable; freeze the graph, or use the SavedModel"
        )
    return original, graph


def _fed(job: FreezeJob, graph: Any, fetched: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the tensor that will take the pixels and, if it is made from one, the decoded image."""
    fed = _named_input(job, graph) if job.input else _found_input(job, graph, fetched)
    decoded = next((each.outputs[0] for each in _upstream(fed) if each.type in DECODERS), None)
    return fed, decoded if decoded is not None and decoded.dtype == tf.uint8 else None


def _named_input(job: FreezeJob, graph: Any) -> Tensor:
    """Return the configured tensor or, if that takes a JPEG or any size, the resized image computed from
    it."""
    every = [output.name for operation in graph.get_operations() for output in operation.outputs]
    named = graph.get_tensor_by_name(choose(job, "input", every))
    fed = named if accepts_images(named.dtype, named.shape.rank) else _resized(_downstream(named))
    if fed is None:
        raise ModelError(
            f"{job.file}: `{named.name}` takes {named.dtype.name} of shape {named.shape}, not images, and "
            f"the graph does not resize an image after it; set custom.input to another tensor"
        )
    return fed


def _found_input(job: FreezeJob, graph: Any, fetched: Tensor) -> Tensor:
    """Return the only tensor that can take the pixels.

    :raises ModelError: there are several, or none.
    """
    needed = _upstream(fetched)
    inputs = [
        operation.outputs[0]
        for operation in needed
        if operation.type in PLACEHOLDERS
        and accepts_images(operation.outputs[0].dtype, operation.outputs[0].shape.rank)
    ]
    known = [tensor for tensor in inputs if tensor.shape.rank == 4]
    decoders = [operation for operation in needed if operation.type in DECODERS]
    if not known and len(decoders) == 1:
        resized = _resized(each for each in _downstream(decoders[0].outputs[0]) if each in needed)
        known = [resized] if resized is not None else []
    return graph.get_tensor_by_name(choose(job, "input", [each.name for each in known or inputs]))


def _upstream(tensor: Tensor) -> dict[Operation, None]:
    """Return the operations that a tensor needs, including its own."""
    found = {tensor.op: None}
    queue = deque([tensor.op])
    while queue:
        for source in queue.popleft().inputs:
            if source.op not in found:
                found[source.op] = None
                queue.append(source.op)
    return found


def _downstream(tensor: Tensor) -> Iterator[Operation]:
    """Yield the operations that use a tensor, directly or indirectly, nearest first."""
    found = set()
    queue = deque([tensor])
    while queue:
        for operation in queue.popleft().consumers():
            if operation not in found:
                found.add(operation)
                yield operation
                queue.extend(operation.outputs)


def _resized(operations: Iterator[Operation]) -> Tensor | None:
    """Return the output of the first operation that resizes images."""
    return next((each.outputs[0] for each in operations if each.type in RESIZERS), None)


def _own_interpolation(fed: Tensor) -> Interpolation | None:
    """Return the interpolation with which the graph resizes the images for `fed`; None: unknown."""
    resizer = next((each for each in _upstream(fed) if each.type in RESIZERS), None)
    if resizer is None:
        return None
    if resizer.type == "ResizeBilinear" and not resizer.get_attr("align_corners"):
        return "tf-bilinear" if resizer.get_attr("half_pixel_centers") else "bilinear"
    if resizer.type == "ScaleAndTranslate" and resizer.get_attr("kernel_type") == b"triangle":
        return "tf-bilinear-antialias" if resizer.get_attr("antialias") else "tf-bilinear"
    return None


def _outputs(job: FreezeJob, graph: Any) -> list[str]:
    """Return the tensors that may be the scores: floats that nothing else in the graph uses.

    If there are several, return only outputs of a softmax.
    """
    if job.output:
        return [output.name for operation in graph.get_operations() for output in operation.outputs]
    last = [
        operation
        for operation in graph.get_operations()
        if operation.type not in ("Const", *PLACEHOLDERS)
        # Batch normalization has outputs that only training uses.
        and all(user.type in PICKERS for output in operation.outputs for user in output.consumers())
    ]
    loose = [
        output
        for operation in last
        if operation.type not in PICKERS
        for output in operation.outputs
        if output.dtype.is_floating
    ]
    soft = [output for output in loose if output.op.type == "Softmax"]
    return [output.name for output in (soft if len(loose) > 1 and soft else loose)]
