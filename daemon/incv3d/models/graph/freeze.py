"""Convert a trained network to one frozen graph with one input and one output, or inspect a flatbuffer.

Run as a child process by :mod:`incv3d.models.custom`: it imports TensorFlow, and an untrusted file that
exploits a library must not reach the daemon.

GraphDefs, SavedModels and Keras models all become a GraphDef with the input ``incv3d/pixels:0``, ``(1,
height, width, 3) float32`` (or ``(1, 3, height, width)``), and the output ``incv3d/scores:0``, ``(1,
outputs)``. A flatbuffer is not changed. An ONNX network gets its weights into its file. Every network is
tried on noise and photographs before it is accepted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from incv3d.config.preprocessing import from_range
from incv3d.errors import Incv3dError
from incv3d.models.graph.freeze_job import PIXELS, SCORES, FreezeJob, NetworkFacts, trial_run
from incv3d.models.normalisation import choose_normalisation

PASSING = {"Identity", "Cast", "Reshape", "Squeeze"}
LINEAR = {"MatMul", "BiasAdd", "Add", "AddV2"}


def freeze(job: FreezeJob) -> NetworkFacts:
    """Freeze the network, and write it and the facts about it.

    :raises ModelError: it is damaged, ambiguous, or not an image classifier.
    """
    if job.kind == "tflite":
        from incv3d.models.graph.freeze_tflite import import_flatbuffer

        facts = import_flatbuffer(job)
    elif job.kind == "onnx":
        from incv3d.models.graph.freeze_onnx import import_onnx

        facts = import_onnx(job)
    else:
        facts = _frozen(job)
    Path(job.facts).write_bytes(msgspec.json.encode(facts))
    return facts


def _frozen(job: FreezeJob) -> NetworkFacts:
    freeze_network = _freezer(job.kind)
    from incv3d.models.graph.frozen_graph import check_frozen, graph_run, replace_random_draws
    from incv3d.models.graph.pixel_ranges import range_of_first_layers

    frozen = freeze_network(job)
    check_frozen(frozen.graph, job)
    shape = frozen.shape
    graph = replace_random_draws(frozen.graph, shape, job)
    declared = frozen.declared
    if declared is None and (pixel_range := range_of_first_layers(graph, shape)):
        declared = from_range(*pixel_range, "its first layers")
    normalisation = choose_normalisation(
        job.file,
        job.pixel_range,
        job.mean,
        job.std,
        declared,
        None,
        shape.channels,
        key=job.mean_from,
    )
    outputs, scores = trial_run(job, graph_run(job, graph), shape, normalisation, _is_linear(graph))
    Path(job.network).write_bytes(graph.SerializeToString(deterministic=True))
    return NetworkFacts(
        input=f"{PIXELS}:0",
        output=f"{SCORES}:0",
        width=shape.width,
        height=shape.height,
        layout=shape.layout,
        outputs=outputs,
        scores=scores,
        channels=shape.channels,
        normalisation=normalisation,
        interpolation=frozen.interpolation,
    )


def _freezer(kind: str) -> Any:
    """Return the function for files of this kind. A GraphDef does not take the whole of TensorFlow."""
    if kind == "graphdef":
        from incv3d.models.graph.freeze_formats import freeze_graphdef

        return freeze_graphdef
    if kind == "savedmodel":
        from incv3d.models.graph.freeze_saved_model import freeze_saved_model

        return freeze_saved_model
    from incv3d.models.graph.freeze_keras import freeze_keras

    return freeze_keras


def _is_linear(graph: Any) -> bool:
    """Return whether the last operation of a frozen graph is a plain layer."""
    nodes = {node.name: node for node in graph.node}
    node = nodes[SCORES]
    while node.op in PASSING:
        node = nodes[node.input[0].removeprefix("^").partition(":")[0]]
    return node.op in LINEAR


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        freeze(msgspec.json.decode(sys.argv[1], type=FreezeJob))
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.stderr.write(f"{failure.filename or 'the store'}: {failure.strerror}\n")
        sys.exit(os.EX_TEMPFAIL)
    except MemoryError:
        sys.stderr.write("out of memory\n")
        sys.exit(os.EX_TEMPFAIL)
