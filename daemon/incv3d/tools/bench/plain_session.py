"""Run TensorFlow's plain Session as the published script does: ``import_graph_def`` and ``Session.run``."""

from __future__ import annotations

import os
import time
from typing import Any

from incv3d.engines.base import Feed, Scores, SessionError, SessionSpec
from incv3d.errors import not_installed, one_line
from incv3d.tools.bench.tensorflow_trace import TRACED_RUN_OPTIONS


class PlainSession:
    """A Session with the settings of the published script: the defaults, unless the threads are given.

    :param default_threads: use TensorFlow's default number of threads.
    :raises SessionError: if TensorFlow or the graph cannot be imported.
    """

    def __init__(self, spec: SessionSpec, default_threads: bool) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        started = time.perf_counter()
        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise SessionError(not_installed(error.name or "tensorflow")) from None
        except ImportError as error:
            raise SessionError(f"TensorFlow cannot be imported: {error}") from None
        imported = time.perf_counter()
        graph = tf.Graph()
        try:
            with graph.as_default():
                graph_def = tf.compat.v1.GraphDef()
                graph_def.ParseFromString(spec.file.read_bytes())
                tf.import_graph_def(graph_def, name="")
            self._scores = graph.get_tensor_by_name(spec.output)
            self._jpeg = graph.get_tensor_by_name(spec.jpeg_input) if spec.jpeg_input else None
            self._pixels = graph.get_tensor_by_name(spec.input)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, whose module moves between versions
            raise SessionError(f"{spec.file}: {one_line(error)}") from None
        built = time.perf_counter()
        with graph.as_default():
            self._nothing = tf.no_op(name="incv3d/nothing")
        config = tf.compat.v1.ConfigProto()
        if not default_threads:
            config.intra_op_parallelism_threads = spec.threads
            config.inter_op_parallelism_threads = spec.threads
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        self._tf = tf
        self.version: str = tf.version.VERSION
        self.import_s = imported - started
        self.build_s = built - imported

    def run(self, feed: Feed) -> Scores:
        """Classify a JPEG if the graph decodes, else pixels; return scores, ``(outputs,) float32``."""
        scores: Scores = self._session.run(self._scores, self._fed(feed))
        return scores.reshape(-1)

    def trace(self, feed: Feed) -> bytes:
        """Run once with tracing; return the serialized ``RunMetadata``."""
        options = self._tf.compat.v1.RunOptions.FromString(TRACED_RUN_OPTIONS)
        metadata = self._tf.compat.v1.RunMetadata()
        self._session.run(self._scores, self._fed(feed), options, metadata)
        # The binding returns it parsed; serialized here, outside of the executor's time.
        serialized: bytes = metadata.SerializeToString()
        return serialized

    def run_nothing(self, feed: Feed) -> None:
        """Make the same call with an operation that does nothing instead of the network."""
        self._session.run(self._nothing, self._fed(feed))

    def devices(self) -> list[str]:
        """Return the devices that TensorFlow sees, GPUs with their names."""
        found = []
        for device in self._tf.config.list_physical_devices():
            details = {}
            if device.device_type == "GPU":
                details = self._tf.config.experimental.get_device_details(device)
            name = device.name.removeprefix("/physical_device:")
            found.append(" ".join(filter(None, [name, details.get("device_name")])))
        return found

    def _fed(self, feed: Feed) -> dict[Any, Feed]:
        return {self._jpeg if isinstance(feed, bytes) else self._pixels: feed}
