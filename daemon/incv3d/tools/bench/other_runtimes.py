"""Run the same weights with runtimes that are not engines of incv3d: OpenVINO, OpenCV's DNN module.

All read the same ONNX file (:mod:`incv3d.tools.bench.onnx_export`) and compute in float32, with as many
threads as the Session. They are in the extra ``peers`` and imported only here.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from incv3d.engines.base import Feed, Scores, SessionError, SessionSpec
from incv3d.errors import one_line, pip_install

MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "opencv": "cv2"}
"""The engines by name, and the module of each."""
INSTALL = pip_install("onnxruntime", "openvino", "opencv-python-headless", "tf2onnx")


class OpenVinoSession:
    """A compiled model on the processor."""

    def __init__(self, spec: SessionSpec) -> None:
        started = time.perf_counter()
        openvino = _import("openvino")
        imported = time.perf_counter()
        settings = {
            "INFERENCE_NUM_THREADS": spec.threads,
            "PERFORMANCE_HINT": "LATENCY",
            # By default it uses bfloat16 if the processor supports it, which changes the scores.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._model = openvino.Core().compile_model(str(spec.file), "CPU", settings)
        self.version: str = openvino.__version__.split("-")[0]
        self.import_s, self.build_s = imported - started, time.perf_counter() - imported

    def run(self, feed: Feed) -> Scores:
        """Classify pixels; ``(outputs,) float32``."""
        scores: Scores = np.ravel(self._model(np.ascontiguousarray(feed))[0])
        return scores.copy()


class OpenCvSession:
    """A network of OpenCV's DNN module."""

    def __init__(self, spec: SessionSpec) -> None:
        started = time.perf_counter()
        cv2 = _import("cv2")
        imported = time.perf_counter()
        cv2.setNumThreads(spec.threads)
        self._network = cv2.dnn.readNetFromONNX(str(spec.file))
        self.version: str = cv2.__version__
        self.import_s, self.build_s = imported - started, time.perf_counter() - imported

    def run(self, feed: Feed) -> Scores:
        """Classify pixels; ``(outputs,) float32``."""
        self._network.setInput(np.ascontiguousarray(feed))
        scores: Scores = np.ravel(self._network.forward())
        return scores.copy()


SESSIONS: dict[str, Any] = {
    "openvino": OpenVinoSession,
    "opencv": OpenCvSession,
}


def open_other_runtime(name: str, spec: SessionSpec) -> Any:
    """Open the network in ``spec.file`` with the runtime `name`.

    :raises SessionError: if the runtime is not installed or cannot run the network.
    """
    try:
        return SESSIONS[name](spec)
    except (SessionError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - each library has its own exceptions, some only RuntimeError
        raise SessionError(f"{name} cannot run the network: {one_line(error)}") from None


def _import(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise SessionError(f"{error}; {INSTALL}") from None
