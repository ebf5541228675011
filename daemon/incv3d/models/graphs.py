"""TensorFlow's three ways to store a network, each to one frozen GraphDef. Imports TensorFlow.

The graph's input is ``incv3d/pixels``, its output ``incv3d/scores``; see :mod:`incv3d.models.freezing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from incv3d.models.entry import ModelError
from incv3d.models.freezing import PIXELS, SCORES, Array, FreezeJob, Run, Shape, choose, input_shape, one_line

v1 = tf.compat.v1
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "VarIsInitializedOp"}
SIGNATURE = "serving_default"
GraphDef = Any
"""``tensorflow.compat.v1.GraphDef``; TensorFlow has no types for it."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen graph, and how it is fed."""

    graph: GraphDef
    shape: Shape
    pixel_range: tuple[float, float] | None
    """What 0 and 255 become; None: the graph does not say."""


def freeze_graphdef(job: FreezeJob) -> Frozen:
    """A GraphDef that is frozen already, cut to one input and one output.

    :raises ModelError: when it is not frozen, or its input or output cannot be told.
    """
    original = v1.GraphDef()
    try:
        original.ParseFromString(Path(job.file).read_bytes())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(original, name="")
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module moves between versions
        raise ModelError(f"{job.file}: not a graph that TensorFlow can import: {one_line(error)}") from None
    variable = next((node.name for node in original.node if node.op in VARIABLES), None)
    if variable:
        raise ModelError(
            f"{job.file}: not frozen, `{variable}` is a variable; freeze the graph, or give the SavedModel"
        )
    fed = graph.get_tensor_by_name(choose(job, "input", _inputs(job, graph)))
    fetched = graph.get_tensor_by_name(choose(job, "output", _outputs(job, graph)))
    shape = input_shape(job, fed.name, None if fed.shape.rank is None else fed.shape.as_list())
    with tf.Graph().as_default() as cut:
        pixels = v1.placeholder(tf.float32, shape.dimensions, name=PIXELS)
        feed = {fed.name: _cast(pixels, fed.dtype)}
        try:
            (found,) = tf.import_graph_def(original, input_map=feed, return_elements=[fetched.name], name="")
        except (ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{job.file}: `{fed.name}` does not take pictures: {one_line(error)}") from None
        tf.identity(tf.cast(found, tf.float32), SCORES)
        graph_def = v1.graph_util.extract_sub_graph(cut.as_graph_def(), [SCORES])
    unfed = {node.name for node in graph_def.node if node.op == "Placeholder"} - {PIXELS}
    if unfed:
        raise ModelError(f"{job.file}: `{fetched.name}` needs `{min(unfed)}` too, which nobody will feed")
    if not any(node.name == PIXELS for node in graph_def.node):
        raise ModelError(f"{job.file}: `{fetched.name}` does not depend on `{fed.name}`")
    graph_def.versions.CopyFrom(original.versions)  # old operations are there only for graphs of their time
    return Frozen(graph_def, shape, _byte_range(fed.dtype))


def freeze_saved_model(job: FreezeJob) -> Frozen:
    """A SavedModel's serving signature.

    :raises ModelError: when it cannot be loaded, or its input or output cannot be told.
    """
    try:
        loaded = tf.saved_model.load(job.file)
    except Exception as error:  # noqa: BLE001 - a damaged SavedModel raises whatever its reader trips over
        raise ModelError(f"{job.file}: cannot be loaded as a SavedModel: {one_line(error)}") from None
    signatures = dict(loaded.signatures)
    if not signatures:
        raise ModelError(f"{job.file}: the SavedModel has no signature to call")
    signature = signatures.get(SIGNATURE) or next(iter(signatures.values()))
    takes: dict[str, Any] = signature.structured_input_signature[1]
    fed = choose(job, "input", list(takes))
    if len(takes) > 1:
        raise ModelError(f"{job.file}: its signature takes {len(takes)} inputs: {', '.join(takes)}")
    fetched = choose(job, "output", list(signature.structured_outputs))
    known, dtype = takes[fed].shape, takes[fed].dtype
    shape = input_shape(job, fed, None if known.rank is None else known.as_list())
    graph = _trace(lambda pixels: signature(**{fed: _cast(pixels, dtype)})[fetched], shape, job)
    return Frozen(graph, shape, _byte_range(dtype))


def freeze_keras(job: FreezeJob) -> Frozen:
    """A model that Keras saved, ``.keras`` or ``.h5``. Its own code (a Lambda layer) is never run.

    :raises ModelError: when it cannot be loaded, or has several inputs or outputs.
    """
    try:
        model = tf.keras.models.load_model(job.file, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - a stranger's file raises whatever Keras trips over
        raise ModelError(f"{job.file}: Keras cannot load it: {one_line(error)}") from None
    if len(model.inputs) != 1:
        raise ModelError(f"{job.file}: has {len(model.inputs)} inputs, it must have one, for the picture")
    # Only a functional model names its outputs.
    names = getattr(model, "output_names", [output.name for output in model.outputs])
    fed = model.inputs[0].name
    fetched = names.index(choose(job, "output", names))
    shape = input_shape(job, fed, list(model.inputs[0].shape))

    dtype = tf.as_dtype(model.inputs[0].dtype)

    def call(pixels: Any) -> Any:
        return tf.nest.flatten(model(_cast(pixels, dtype), training=False))[fetched]

    return Frozen(_trace(call, shape, job), shape, _byte_range(dtype))


def graph_run(job: FreezeJob, graph_def: GraphDef) -> Run:
    """A function that runs the frozen graph once.

    :raises ModelError: when TensorFlow cannot take the graph.
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


def _cast(pixels: Any, dtype: Any) -> Any:
    return tf.cast(tf.round(pixels) if dtype.is_integer else pixels, dtype)


def _byte_range(dtype: Any) -> tuple[float, float] | None:
    return (0.0, 255.0) if dtype == tf.uint8 else None


def _trace(call: Any, shape: Shape, job: FreezeJob) -> GraphDef:
    """Freeze a function of pixels, its variables made constants and its calls inlined."""

    def named(pixels: Any) -> Any:
        return tf.identity(tf.cast(call(pixels), tf.float32))

    try:
        concrete = tf.function(named).get_concrete_function(tf.TensorSpec(shape.dimensions, tf.float32))
        frozen = convert_variables_to_constants_v2(concrete, aggressive_inlining=True)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelError(f"{job.file}: it cannot be run on a picture: {one_line(error)}") from None
    with tf.Graph().as_default() as cut:
        pixels = v1.placeholder(tf.float32, shape.dimensions, name=PIXELS)
        (found,) = tf.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={frozen.inputs[0].name: pixels},
            return_elements=[frozen.outputs[0].name],
            name="",
        )
        tf.identity(found, SCORES)
        return v1.graph_util.extract_sub_graph(cut.as_graph_def(), [SCORES])


def _inputs(job: FreezeJob, graph: Any) -> list[str]:
    """The tensors that may take the picture: the placeholders; any tensor, when one is named."""
    if job.input:
        return [output.name for operation in graph.get_operations() for output in operation.outputs]
    return [
        operation.outputs[0].name
        for operation in graph.get_operations()
        if operation.type == "Placeholder" and operation.outputs[0].shape.rank in (None, 4)
    ]


def _outputs(job: FreezeJob, graph: Any) -> list[str]:
    """The tensors that may give the scores: those of numbers that nothing else in the graph uses.

    Where there are several, those that a softmax made.
    """
    if job.output:
        return [output.name for operation in graph.get_operations() for output in operation.outputs]
    last = [
        operation
        for operation in graph.get_operations()
        if operation.type not in ("Const", "Placeholder")
        # A batch normalisation has outputs that only training uses.
        and not any(output.consumers() for output in operation.outputs)
    ]
    loose = [output for operation in last for output in operation.outputs if output.dtype.is_floating]
    soft = [output for output in loose if output.op.type == "Softmax"]
    return [output.name for output in (soft if len(loose) > 1 and soft else loose)]
