"""Run ``.onnx`` networks with ONNX Runtime, on the processor.

The library copies the weights from the file and, on some processors, into a layout of its own. What it frees
on the way is returned to the system, which more than halves the memory of an open Session. Its threads sleep
between operations: by default they spin, which takes as much of the processor again.

Libraries with custom operations are never loaded.
"""

from __future__ import annotations

import mmap
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from incv3d.engines.base import (
    FEATURES,
    Engine,
    Features,
    Feed,
    Scores,
    Session,
    SessionError,
    SessionFacts,
    SessionSpec,
    SpareMemory,
    UnusableNetwork,
    check_pixels,
    is_feature_vector,
)
from incv3d.engines.page_release import release_clean_pages
from incv3d.engines.quiet_stderr import quiet_stderr
from incv3d.errors import pip_install
from incv3d.machine import trim_heap

PACKAGE = "onnxruntime"
FATAL = 4
"""The library's highest level of log messages (``ORT_LOGGING_LEVEL_FATAL`` in onnxruntime_c_api.h)."""
INPUT_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
"""Supported types of inputs. Integers stand for themselves."""
OUTPUT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(double)")
INTEGER_OPERATIONS = (b"DequantizeLinear", b"QLinearConv", b"ConvInteger", b"MatMulInteger")
"""The names of operations that only quantized networks have."""
NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .+? failed:|\S*/onnxruntime/core/\S+:\d+ "
)
"""Parts of the library's messages that say nothing to a user."""
LONGEST = 400
"""Characters of a message."""
REASONS = (
    (
        re.compile(r"Fatal error: (\S+?)\(-?\d+\) is not a registered function/op"),
        "its operation {0} is not one of ONNX Runtime's, and libraries with custom operations are not "
        "loaded; export it with standard operations",
    ),
    (
        re.compile(r"No Op registered for (\S+) with domain_version of (\d+)"),
        "the installed ONNX Runtime does not know its operation {0} (opset {1})",
    ),
    (
        re.compile(r"Opset (\d+) is under development.*till opset (\d+)"),
        "it has opset {0}, but the installed ONNX Runtime supports opsets up to {1}; export it with "
        "opset_version={1}, or upgrade onnxruntime",
    ),
    (
        re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
        "it has IR version {0}, but the installed ONNX Runtime supports versions up to {1}; upgrade "
        "onnxruntime, or export it with an older version of onnx",
    ),
    (re.compile(r"Protobuf parsing failed"), "damaged or truncated"),
    (re.compile(r"External data path validation failed.*Error: (.*)"), "its external data is rejected: {0}"),
)
"""Messages of the library that say too much or too little, and what to say instead."""


class OnnxSession:
    """An InferenceSession, open until :meth:`close`.

    :param spec: its ``input`` and ``output`` are names in the network; empty: the only ones.
    :raises SessionError: ONNX Runtime is not installed, the file is not a network that it can run, or the
        network's input does not match `spec`.
    """

    def __init__(self, spec: SessionSpec) -> None:
        started = time.perf_counter()
        ort = import_onnxruntime()
        loaded = time.perf_counter()
        self._file = spec.file
        self._shape = spec.input_shape
        self._failures = _failures()
        self._session = open_network(spec.file, spec.threads)
        self._connect(spec)
        trim_heap()
        release_clean_pages((Path(ort.__file__).parent / "capi").resolve())
        self._facts = SessionFacts(
            engine="onnx",
            binding="Python",
            version=version(PACKAGE),
            threads=spec.threads,
            import_ms=(loaded - started) * 1000,
            build_ms=(time.perf_counter() - loaded) * 1000,
            precision=_precision(spec.file, self._dtype),
            reentrant=True,
            features=self._length,
        )

    @property
    def facts(self) -> SessionFacts:
        """Facts about the Session."""
        return self._facts

    def run(self, feed: Feed) -> Scores:
        """Classify pixels. Return ``(outputs,) float32``.

        :raises BadFeed: the input is not float32 of the model's shape.
        :raises SessionError: ONNX Runtime reports a failure.
        """
        return self.run_with_features(feed)[0]

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        """Classify like :meth:`run`, and return the features, too."""
        session = self._session
        if session is None:
            raise SessionError("the Session is closed")
        pixels = self._converted(check_pixels(feed, self._shape))
        try:
            found = session.run(self._outputs, {self._input: pixels})
        except self._failures as error:
            raise SessionError(f"ONNX Runtime: {_one_line(error) or 'out of memory'}") from None
        scores, *features = [np.asarray(each, np.float32).reshape(-1) for each in found]
        return scores, features[0] if features else np.empty(0, np.float32)

    def close(self) -> None:
        """Free the library's memory."""
        self._session = None

    def _connect(self, spec: SessionSpec) -> None:
        """Find the input and the output, and run once, which allocates the memory of every run."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise UnusableNetwork(
                f"{self._file}: the network has {len(inputs)} inputs ({_listed(inputs)}), but must have one"
            )
        fed, fetched = self._find("input", inputs, spec.input), self._find("output", outputs, spec.output)
        if fed.type not in INPUT_TYPES:
            raise UnusableNetwork(f"{self._file}: the input `{fed.name}` is a {fed.type}, not of numbers")
        if fetched.type not in OUTPUT_TYPES:
            raise UnusableNetwork(
                f"{self._file}: the output `{fetched.name}` is a {fetched.type}, but must be floats: a score "
                f"per class"
            )
        sides = [side if isinstance(side, int) else None for side in fed.shape or ()]
        wanted = self._shape
        if len(sides) != len(wanted) or any(a not in (None, b) for a, b in zip(sides, wanted, strict=True)):
            raise UnusableNetwork(
                f"{self._file}: the input `{fed.name}` has the shape {tuple(fed.shape or ())}, not {wanted}"
            )
        features = [each.name for each in outputs if each.name == FEATURES and each.type in OUTPUT_TYPES]
        self._input, self._outputs = fed.name, [fetched.name, *features]
        self._dtype: np.dtype[Any] = np.dtype(INPUT_TYPES[fed.type])
        try:
            found, *tapped = self._session.run(self._outputs, {self._input: np.zeros(wanted, self._dtype)})
        except self._failures as error:
            raise UnusableNetwork(f"{self._file}: ONNX Runtime cannot run it: {_one_line(error)}") from None
        if not found.size or found.size != max(found.shape):
            raise UnusableNetwork(
                f"{self._file}: the output `{fetched.name}` is not a vector: its shape is {found.shape}"
            )
        if tapped and not is_feature_vector(tapped[0].shape):
            tapped = []
            del self._outputs[1:]
        self._length = tapped[0].size if tapped else 0

    def _find(self, what: str, nodes: list[Any], name: str) -> Any:
        """Return the input or output called `name`, or the only one besides the features."""
        nodes = [node for node in nodes if node.name != FEATURES]
        if not name and len(nodes) != 1:
            raise UnusableNetwork(
                f"{self._file}: the network has {len(nodes)} {what}s ({_listed(nodes)}); name one"
            )
        found = next((node for node in nodes if node.name == name or not name), None)
        if found is None:
            raise UnusableNetwork(f"{self._file}: there is no {what} `{name}`, but {_listed(nodes)}")
        return found

    def _converted(self, pixels: Any) -> Any:
        """Return pixels in the type of the network's input; integers are rounded and clipped."""
        if self._dtype == np.float32:
            return pixels
        if self._dtype.kind == "f":
            return pixels.astype(self._dtype)
        limits = np.iinfo(self._dtype)
        return np.rint(pixels).clip(limits.min, limits.max).astype(self._dtype)


def import_onnxruntime() -> Any:
    """Return the library.

    :raises SessionError: it is not installed, or cannot be loaded.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise SessionError(
            f"ONNX Runtime cannot be imported ({_one_line(error)}); install it: {pip_install(PACKAGE)}"
        ) from None
    ort.set_default_logger_severity(FATAL)
    ort.disable_telemetry_events()
    return ort


def open_network(file: Path, threads: int) -> Any:
    """Return an InferenceSession for the network in `file`.

    :raises SessionError: it is not a network that the library can load.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with file.open("rb"):
            pass
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise SessionError(f"{file}: cannot be read: {error.strerror}") from None
    except MemoryError:
        raise SessionError(f"{file}: cannot be opened: out of memory") from None
    except _failures() as error:
        if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
            raise SessionError(f"{file}: cannot be opened: out of memory") from None
        raise UnusableNetwork(f"{file}: {_reason(error)}") from None


def _failures() -> tuple[type[Exception], ...]:
    """Return the library's exceptions, which have no common base class."""
    state = sys.modules["onnxruntime.capi.onnxruntime_pybind11_state"]
    kinds: list[type[Exception]] = [
        kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    return (*kinds, RuntimeError, ValueError, MemoryError)


def _precision(file: Path, dtype: np.dtype[Any]) -> str:
    """Return the number format in which most of the network computes."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if any(data.find(operation) >= 0 for operation in INTEGER_OPERATIONS):
            return "int8"
    return "float16" if dtype == np.float16 else "float32"


def _reason(error: Exception) -> str:
    message = " ".join(str(error).split())
    for pattern, reason in REASONS:
        if found := pattern.search(message):
            return reason.format(*found.groups())[:LONGEST]
    return f"ONNX Runtime cannot load it: {_one_line(error)}"


def _listed(nodes: list[Any]) -> str:
    return ", ".join(f"`{node.name}`" for node in nodes[:12]) or "none"


def _one_line(error: Exception) -> str:
    return NOISE.sub("", " ".join(str(error).split()))[:LONGEST]


def _open_session(spec: SessionSpec, prepared: Path | None, spare_mb: SpareMemory) -> Session:
    with quiet_stderr():
        return OnnxSession(spec)


def _needed_mb(network_mb: float) -> float:
    """Return the measured need, rounded up, of networks of 1 to 45 MiB. Loading is the peak."""
    return 80 + 4 * network_mb


ONNX = Engine(
    name="onnx",
    format="onnx",
    module="onnxruntime",
    package=PACKAGE,
    open=_open_session,
    needed_mb=_needed_mb,
)
