"""TensorFlow through its Python package: a ``tf.compat.v1.Session`` over a frozen GraphDef.

The only module of the daemon that imports ``tensorflow``, and only when a Session is opened.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from incv3d.sessions.base import Pixels, Scores, SessionError, SessionFacts, SessionSpec


class PythonSession:
    """A finalized graph and its Session, open until :meth:`close`.

    :raises SessionError: when TensorFlow is not installed, or the graph cannot be imported.
    """

    def __init__(self, spec: SessionSpec) -> None:
        started = time.perf_counter()
        tf = _import_tensorflow()
        imported = time.perf_counter()
        graph = _import_graph(tf, spec)
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=spec.threads, inter_op_parallelism_threads=1
        )
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            fed, fetched = (graph.get_tensor_by_name(name) for name in (spec.input, spec.output))
        except (KeyError, ValueError) as error:
            raise SessionError(f"{spec.graph}: {_one_line(error)}") from None
        self._run = self._session.make_callable(fetched, [fed])
        self._errors = (tf.errors.OpError, ValueError, TypeError)
        built = time.perf_counter()
        self._facts = SessionFacts(
            engine="tensorflow",
            binding="Python",
            version=tf.version.VERSION,
            threads=spec.threads,
            import_ms=(imported - started) * 1000,
            build_ms=(built - imported) * 1000,
        )

    @property
    def facts(self) -> SessionFacts:
        """What was opened."""
        return self._facts

    def run(self, pixels: Pixels) -> Scores:
        """Classify ``(1, height, width, 3) float32``; ``(outputs,) float32``.

        :raises SessionError: when TensorFlow reports a failure.
        """
        try:
            scores: Scores = np.ravel(self._run(pixels))
        except self._errors as error:
            raise SessionError(_one_line(error)) from None
        return scores

    def close(self) -> None:
        """Give TensorFlow's memory back."""
        self._session.close()


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise SessionError(f"TensorFlow cannot be imported: {_one_line(error)}") from None
    return tf


def _import_graph(tf: Any, spec: SessionSpec) -> Any:
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(spec.graph.read_bytes())
    except OSError as error:
        raise SessionError(f"{spec.graph}: cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module moves between versions
        raise SessionError(f"{spec.graph}: not a GraphDef: {_one_line(error)}") from None
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise SessionError(f"{spec.graph}: cannot be imported: {_one_line(error)}") from None
    graph.finalize()
    return graph


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
