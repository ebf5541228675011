"""Check that a prepared graph returns the scores of its original, on noise and on photographs.

The original runs through the C API, before TensorFlow's Python package is imported: that takes less memory
than preparation, and the memory is freed.

As a child process (``python -m incv3d.models.graph.equivalence JOB``), it checks the prepared graph in the
folder ``job.out``, which was made on another machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import simplejpeg

from incv3d.engines.base import Feed, Scores, SessionError
from incv3d.engines.capi import GraphRefused, LibraryMissing
from incv3d.engines.prepared_model import FORMAT, Index, Job, PreparedModel
from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.errors import Incv3dError
from incv3d.machine import trim_heap
from incv3d.models.bundled import bundled_image
from incv3d.models.entry import ModelError
from incv3d.models.prepare import UNPREPARABLE, UnrunnableError
from incv3d.models.samples import SEEDS, sample_pixels

TOLERANCE = 1e-4
"""The largest allowed difference, relative to the largest score. Folding changes only the last digits."""
PHOTOGRAPH = "grace_hopper.jpg"
"""The image for a graph that decodes and resizes by itself."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The original's scores for one image."""

    image: str
    feed: Feed
    scores: Scores


def run_original(job: Job) -> list[Reference]:
    """Run the original graph on every image.

    :raises UnrunnableError: it returns no scores for an image, or the wrong number of them.
    :raises ModelError: TensorFlow cannot import the graph, or its scores differ from run to run.
    """
    index = Index(
        format=FORMAT, source_sha256=job.source_sha256, preparer="", input=job.input, output=job.output,
        input_shape=job.input_shape, outputs=job.outputs, jpeg_input=job.jpeg_input,
        image_input=job.image_input, graph_bytes=0, weights_bytes=0, weights_sha256="", weights=(),
    )  # fmt: skip
    file = Path(job.graph)
    wanted: list[Reference] = []
    try:
        session = TensorFlowSession(PreparedModel(file.parent, index, file.name), _cores())
    except LibraryMissing as error:
        raise ModelError(f"TensorFlow's C API, which runs the original, is not available: {error}") from None
    except GraphRefused as error:
        raise ModelError(f"TensorFlow cannot import the graph: {error}") from None
    except SessionError as error:
        raise UnrunnableError(f"the graph failed on an image: {error}") from None
    try:
        for image, feed in _feeds(job):
            wanted.append(Reference(image, feed, session.run(feed).copy()))
        again = session.run(wanted[0].feed)
    except SessionError as error:
        raise UnrunnableError(f"the graph failed on an image: {error}") from None
    finally:
        session.close()
        trim_heap()
    scores = wanted[0].scores
    if job.outputs and scores.size != job.outputs:
        raise UnrunnableError(f"`{job.output}` returns {scores.size} scores instead of {job.outputs}")
    if not any(np.isfinite(each.scores).all() for each in wanted):
        raise UnrunnableError("the graph returns scores that are not numbers: its weights are damaged")
    if _difference(again, scores) > TOLERANCE * _largest(scores):
        raise ModelError(
            "the graph returns different scores for the same image each time: it is random or stateful"
        )
    return wanted


def check_equivalence(directory: Path, wanted: list[Reference]) -> None:
    """Run the prepared model in `directory` on the same images, and compare the scores.

    :raises ModelError: the scores differ from the original's.
    """
    try:
        session = TensorFlowSession(directory, _cores())
        try:
            got = [session.run(each.feed).copy() for each in wanted]
        finally:
            session.close()
    except SessionError as error:
        raise ModelError(f"the prepared graph cannot be run: {error}") from None
    floor = max(_largest(each.scores) for each in wanted) / 100  # for an image whose scores are all near 0
    for each, scores in zip(wanted, got, strict=True):
        difference = _difference(scores, each.scores)
        largest = max(_largest(each.scores), floor)
        if difference > TOLERANCE * largest:
            raise ModelError(
                f"the prepared graph returns different scores: for {each.image} they differ by "
                f"{difference:.2g}, while the largest score is {largest:.2g}"
            )


def _feeds(job: Job) -> Iterator[tuple[str, Feed]]:
    low, high = ((value - np.asarray(job.mean)) / np.asarray(job.scale) for value in (0, 255))
    for image, pixels in sample_pixels(job.input_shape, job.layout, low, high, (*SEEDS, *job.seeds)):
        if image != "grey":  # a uniform image does not test convolutions
            yield image, pixels
    if job.jpeg_input or job.image_input:
        jpeg = bundled_image(PHOTOGRAPH)
        if job.jpeg_input:
            yield f"{PHOTOGRAPH} as a JPEG", jpeg
        if job.image_input:
            yield f"{PHOTOGRAPH} decoded", simplejpeg.decode_jpeg(jpeg)


def _difference(scores: Scores, wanted: Scores) -> float:
    """Return the largest difference; infinity if the shapes differ or only one of two values is NaN."""
    if scores.shape != wanted.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        differences = np.where(_alike(scores, wanted), 0, np.abs(scores.astype(np.float64) - wanted))
    return float(np.nan_to_num(differences, nan=np.inf).max(initial=0.0))


def _alike(scores: Scores, wanted: Scores) -> Scores:
    """Return where both are the same number or both are NaN."""
    alike: Scores = (scores == wanted) | (np.isnan(scores) & np.isnan(wanted))
    return alike


def _largest(scores: Scores) -> float:
    return float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    job = msgspec.json.decode(sys.argv[1], type=Job)
    try:
        check_equivalence(Path(job.out), run_original(job))
    except Incv3dError as failure:
        print(failure, file=sys.stderr)  # noqa: T201 - the parent process reports it
        sys.exit(UNPREPARABLE)
