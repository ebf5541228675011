"""Convert a frozen GraphDef to a float32 flatbuffer: ``python -m incv3d.models.flatbuffer.to_float32 JOB``.

Runs as a child process for its memory; TensorFlow is not imported. The graph is folded and written. Then
NumPy runs the graph as it is stored on noise and a photograph, and LiteRT must return the same scores.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from incv3d.child_process import decode, report_failures
from incv3d.engines.base import Pixels, Scores, SessionError, SessionSpec
from incv3d.engines.litert import LiteRTSession
from incv3d.engines.quiet_stderr import quiet_stderr
from incv3d.machine import trim_heap
from incv3d.models.conversions import OriginalCheck, flatbuffer_spec
from incv3d.models.entry import ModelError
from incv3d.models.files import sha256_of
from incv3d.models.flatbuffer.features import mark_features
from incv3d.models.flatbuffer.float32 import UNSUPPORTED, Float32Job
from incv3d.models.flatbuffer.operators import write_network
from incv3d.models.graph.fold import DT_FLOAT, GraphFolder, node_name
from incv3d.models.graph.graphdef_reader import read_nodes
from incv3d.models.graph.numpy_run import run_graph
from incv3d.models.graph.plain_graph import PlainGraph, PlainNode, UnsupportedOperation, read_graph
from incv3d.models.graph.structure import check_structure
from incv3d.models.packed_weights import pack_weights
from incv3d.models.prepare import UNRUNNABLE, UnrunnableError
from incv3d.models.samples import sample_pixels

SAMPLES = ("noise 1", "coffee.jpg")
"""The images on which the two are compared."""
TOLERANCE = 1e-5
"""The largest allowed difference of a score, relative to the largest score if that exceeds 1."""
RELATIVE_TOLERANCE = 1e-4
"""The same relative to the largest score if that is below 1, as for a network with thousands of classes."""


def convert(job: Float32Job) -> OriginalCheck:
    """Write the flatbuffer, and return how close its scores are to those of the graph.

    :raises UnsupportedOperation: the graph has an operation that cannot be converted here, or the scores
        differ.
    :raises UnrunnableError: the graph returns no scores, or the wrong number of them.
    :raises ModelError: the graph cannot be read.
    """
    file = job.spec.file
    check_structure(read_nodes(file), job.spec.input, job.spec.output)
    # Written first: an operation that is not supported is found in a moment, but NumPy needs long for a run.
    graph = read_graph(file)
    write_flatbuffer(graph, job.spec, Path(job.out))
    graph.release()
    del graph
    trim_heap()
    graph = read_graph(file)
    samples = list(_samples(job))
    wanted = [_reference(graph, job, pixels) for pixels in samples]
    graph.release()
    del graph
    trim_heap()
    return _check(job, samples, wanted)


def _samples(job: Float32Job) -> Iterator[Pixels]:
    low, high = ((value - np.asarray(job.mean)) / np.asarray(job.scale) for value in (0, 255))
    for name, pixels in sample_pixels(job.spec.input_shape, job.spec.layout, low, high):
        if name in SAMPLES:
            yield pixels


def _reference(graph: PlainGraph, job: Float32Job, pixels: Pixels) -> Scores:
    scores = run_graph(graph, job.spec.input, job.spec.output, pixels)
    if scores.size != job.outputs:
        raise UnrunnableError(f"`{job.spec.output}` returns {scores.size} scores instead of {job.outputs}")
    if not np.isfinite(scores).all():
        raise UnrunnableError("the graph returns scores that are not numbers: its weights are damaged")
    return scores


def write_flatbuffer(graph: PlainGraph, spec: SessionSpec, path: Path) -> None:
    """Fold the graph between the tensors of `spec`, and write it as a flatbuffer to the file at `path`.

    Its features become an output of the file.

    :raises UnsupportedOperation: it has an operation that cannot be translated.
    :raises ModelError: a node is missing.
    :raises OSError: the file cannot be written.
    """
    fed, fetched = node_name(spec.input), node_name(spec.output)
    placeholder = PlainNode(fed, "Placeholder")
    placeholder.attr["dtype"].type = DT_FLOAT
    folder = GraphFolder({**graph.nodes, fed: placeholder}, dict(graph.weights), PlainNode, graph.release)
    folder.fold(fetched, [fed])
    write_network(path, folder.nodes, folder.weights, fed, fetched, spec.input_shape)
    mark_features(path)


def _check(job: Float32Job, samples: list[Pixels], wanted: list[Scores]) -> OriginalCheck:
    """Run the flatbuffer in LiteRT and compare its scores.

    :raises UnsupportedOperation: they differ, or LiteRT cannot run it.
    """
    spec = flatbuffer_spec(job.spec, Path(job.out))
    try:
        weights = _packed_weights(spec)
        with quiet_stderr():
            session = LiteRTSession(spec, weights)
        with contextlib.closing(session):
            got = [session.run(pixels).copy() for pixels in samples]
    except SessionError as error:
        raise UnsupportedOperation(f"the converted graph cannot be run: {error}") from None
    if got[0].size != job.outputs or not np.isfinite(got).all():
        raise UnsupportedOperation("the converted graph does not return a number for every class")
    largest = float(np.abs(wanted).max())
    difference = float(np.abs(np.subtract(got, wanted, dtype=np.float64)).max())
    allowed = min(TOLERANCE * max(1.0, largest), RELATIVE_TOLERANCE * largest)
    if difference > allowed:
        raise UnsupportedOperation(
            f"the converted graph returns different scores: they differ by {difference:.2g}, "
            f"and {allowed:.2g} is allowed, as the largest score is {largest:.2g}"
        )
    return OriginalCheck(images=len(samples), largest_difference=difference, largest_score=largest)


def _packed_weights(spec: SessionSpec) -> Path | None:
    """Return the file with the packed weights of a flatbuffer, made beside it for all later Sessions.

    Packed into memory instead, they would take the most memory of the whole conversion.

    :returns: None for a small network, or one whose weights cannot be packed now; a start tries again, and
        says why.
    """
    try:
        return pack_weights(spec, sha256_of(spec.file))
    except ModelError:
        return None


def main(job: Float32Job) -> None:
    """Convert, and write the facts about the result."""
    Path(job.check).write_bytes(msgspec.json.encode(convert(job)))


if __name__ == "__main__":
    with report_failures():
        try:
            main(decode(sys.argv[1], Float32Job))
        except (UnsupportedOperation, UnrunnableError) as failure:
            print(failure, file=sys.stderr)  # noqa: T201 - the parent process reports it
            sys.exit(UNSUPPORTED if isinstance(failure, UnsupportedOperation) else UNRUNNABLE)
