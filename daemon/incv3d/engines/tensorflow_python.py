"""Run TensorFlow through its Python package: a ``tf.compat.v1.Session`` over a frozen GraphDef.

This is the daemon's only module that imports ``tensorflow``, and only when a Session is opened.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from incv3d.engines.base import (
    BadFeed,
    Features,
    Feed,
    Scores,
    SessionError,
    SessionFacts,
    SessionSpec,
    UnusableNetwork,
    is_feature_vector,
)
from incv3d.errors import not_installed, one_line


class PythonSession:
    """A finalized graph and its Session, open until :meth:`close`.

    :raises SessionError: TensorFlow is not installed, or the graph cannot be imported.
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
            fetched = [graph.get_tensor_by_name(spec.output)]
            tap = graph.get_tensor_by_name(spec.features) if spec.features else None
            length = _vector_length(tap) if tap is not None else 0
            if length:
                fetched.append(tap)
            self._runs = {
                kind: self._session.make_callable(fetched, [graph.get_tensor_by_name(name)])
                for kind, name in (
                    ("float32", spec.input), ("uint8", spec.image_input), ("jpeg", spec.jpeg_input)
                )
                if name
            }  # fmt: skip
        except (KeyError, ValueError) as error:
            raise UnusableNetwork(f"{spec.file}: {one_line(error)}") from None
        self._bad_feed = (tf.errors.InvalidArgumentError, ValueError, TypeError)
        self._failure = tf.errors.OpError
        built = time.perf_counter()
        self._facts = SessionFacts(
            engine="tensorflow",
            binding="Python",
            version=tf.version.VERSION,
            threads=spec.threads,
            import_ms=(imported - started) * 1000,
            build_ms=(built - imported) * 1000,
            reentrant=True,
            features=length,
        )

    @property
    def facts(self) -> SessionFacts:
        """Facts about the Session."""
        return self._facts

    def run(self, feed: Feed) -> Scores:
        """Classify pixels, or an image or JPEG that the graph decodes. Return ``(outputs,) float32``.

        :raises BadFeed: the input does not fit, or the graph cannot decode it.
        :raises SessionError: TensorFlow reports a failure.
        """
        return self.run_with_features(feed)[0]

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        """Classify like :meth:`run`, and return the features, too."""
        kind = "jpeg" if isinstance(feed, bytes) else str(feed.dtype)
        if kind not in self._runs:
            raise BadFeed(f"the model takes {' or '.join(self._runs)}, but got {kind}")
        try:
            scores, *features = map(np.ravel, self._runs[kind](feed))
        except self._bad_feed as error:
            raise BadFeed(one_line(error)) from None
        except self._failure as error:
            raise SessionError(one_line(error)) from None
        return scores, features[0] if features else np.empty(0, np.float32)

    def close(self) -> None:
        """Free TensorFlow's memory."""
        self._session.close()


def _vector_length(tensor: Any) -> int:
    """Return the length of a tensor that may be features, or 0. Its first dimension is one image."""
    sides = tensor.shape.as_list() if tensor.shape.rank else []
    shape = [side or 1 for side in sides[:1]] + sides[1:]
    return max(shape) if None not in shape and is_feature_vector(shape) else 0


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise SessionError(not_installed(error.name or "tensorflow")) from None
    except ImportError as error:
        raise SessionError(f"TensorFlow cannot be imported: {one_line(error)}") from None
    return tf


def _import_graph(tf: Any, spec: SessionSpec) -> Any:
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(spec.file.read_bytes())
    except OSError as error:
        raise SessionError(f"{spec.file}: cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module differs by version
        raise UnusableNetwork(f"{spec.file}: not a GraphDef: {one_line(error)}") from None
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise UnusableNetwork(f"{spec.file}: cannot be imported: {one_line(error)}") from None
    graph.finalize()
    return graph
