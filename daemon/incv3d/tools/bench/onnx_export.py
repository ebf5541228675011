"""Export a model's folded graph as an ONNX file, for the other runtimes.

Runs as a child process (``python -m incv3d.tools.bench.onnx_export JOB OUT``), because it imports TensorFlow
and tf2onnx.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from incv3d.engines.prepared_model import Job
from incv3d.errors import Incv3dError, one_line
from incv3d.models.graph.prepare_graph import fold_graph
from incv3d.models.prepare import run_child
from incv3d.models.store import ModelStore, StoredModel
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.other_runtimes import INSTALL

OPSET = 17
"""OpenCV's importer supports this version; later ones add nothing needed here."""
FOLDER = "bench"


def ensure_onnx(model: StoredModel, store: ModelStore, progress: Callable[[str], None]) -> Path:
    """Return the ONNX file of `model` in the store's folder ``bench``; create it if it is missing.

    :raises ModelError: if it cannot be created.
    """
    path = store.root / FOLDER / f"{model.name}-{model.manifest.sha256[:12]}.onnx"
    if path.exists():
        return path
    progress(f"converting {model.name} to ONNX (once; this imports TensorFlow)")
    spec = model.session_spec(threads=1)
    job = Job(
        graph=str(spec.file),
        source_sha256=model.manifest.sha256,
        input=spec.input,
        input_shape=spec.input_shape,
        output=spec.output,
        out="",
    )
    with store.exclusively():
        path.parent.mkdir(parents=True, exist_ok=True)
        run_child("incv3d.tools.bench.onnx_export", [msgspec.json.encode(job).decode(), str(path)])
    return path


def convert(job: Job) -> bytes:
    """Return the serialized ONNX model of the graph from ``job.input`` to ``job.output``.

    :raises BenchError: if tf2onnx is missing or does not support an operation.
    """
    import tensorflow as tf

    try:
        import tf2onnx
    except ImportError as error:
        raise BenchError(f"{error}; {INSTALL}") from None
    graph = fold_graph(tf, Path(job.graph), job.input, job.input_shape, job.output)
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            graph, input_names=[job.input], output_names=[job.output], opset=OPSET
        )
    except Exception as error:  # noqa: BLE001 - tf2onnx raises whatever its parts raise
        raise BenchError(f"tf2onnx cannot convert the graph: {one_line(error)}") from None
    serialized: bytes = model.SerializeToString()
    return serialized


def main(job: str, out: str) -> None:
    """Convert the graph and write the file atomically."""
    scratch = Path(f"{out}.{os.getpid()}")
    try:
        scratch.write_bytes(convert(msgspec.json.decode(job, type=Job)))
        scratch.rename(out)
    finally:
        scratch.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.exit(f"the store cannot be written: {failure.strerror}")
