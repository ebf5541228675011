"""Run ``.tflite`` flatbuffers with LiteRT, with convolutions by XNNPACK.

The whole library takes 9 MB and loads within milliseconds. XNNPACK needs the weights packed for its kernels.
They are mapped from a file that was made once (:mod:`incv3d.engines.weight_cache`); without it, XNNPACK packs
them into its own memory at each start. The pages of the model's own file are not needed afterwards.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
from incv3d.engines.litert_c import NotMappable
from incv3d.engines.litert_runners import Details, InterpreterRunner, MappedRunner, Runner
from incv3d.engines.page_release import release_clean_pages
from incv3d.engines.quiet_stderr import quiet_stderr
from incv3d.engines.weight_cache import PACKAGE
from incv3d.errors import one_line, pip_install

LOG = logging.getLogger(__name__)
IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of such a flatbuffer (``file_identifier`` in tensorflow/lite/schema/schema.fbs)."""
TYPES = (np.float32, np.int8, np.uint8, np.int16)
"""Supported types of inputs and outputs; the integers are quantized."""
INPUT_TYPES = (*TYPES, np.uint16, np.int32, np.int64, np.float16)
"""Other supported types of inputs; integers without a scale stand for themselves."""
FAILED_NODE = re.compile(r"Node number \d+ \((\w+)\) failed to prepare")


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The mapping of integers to real numbers: ``real = (integer - zero_point) * scale``."""

    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    def quantise(self, real: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the integers nearest to `real`, still as floats, clipped to the type's range."""
        limits = np.iinfo(self.dtype)
        integers = real / np.float32(self.scale)
        # Halves are rounded to even, as in XNNPACK's own quantization.
        np.rint(integers, out=integers)
        integers += self.zero_point
        return np.clip(integers, limits.min, limits.max, out=integers)

    def dequantise(self, integers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the real numbers for `integers`."""
        real = integers.astype(np.float32)
        real -= self.zero_point
        real *= self.scale
        return real


class LiteRTSession:
    """A flatbuffer that is loaded, until :meth:`close`.

    :param spec: its ``input`` and ``output`` name tensors as in the flatbuffer or its signature; empty: the
        only ones.
    :param weights: the file with its packed weights, checked; None: pack them into memory.
    :param make_weights: create the file `weights`; a full disk then ends the process.
    :raises NotMappable: the network cannot run with packed weights in a file; with `make_weights` only.
    :raises SessionError: LiteRT is not installed, the file is not a model that it can run, or the model's
        input does not match `spec`.
    """

    def __init__(self, spec: SessionSpec, weights: Path | None = None, make_weights: bool = False) -> None:
        started = time.perf_counter()
        make_interpreter = _import_interpreter()
        loaded = time.perf_counter()
        self._file = spec.file
        self._shape = spec.input_shape
        interpreter = _open(make_interpreter, spec)
        # Loading has touched most of the library's code, and verification much of the model.
        library = Path(sys.modules[make_interpreter.__module__].__file__ or "").parent
        read_once = (library.resolve(), spec.file.resolve())
        release_clean_pages(*read_once)
        self._runner: Runner | None = None
        try:
            self._connect(interpreter, spec, weights, make_weights)
        except MemoryError as error:
            raise SessionError(f"{spec.file}: {_reason(error)}") from None
        except (ValueError, RuntimeError) as error:
            # Names that are not UTF-8, in a damaged file, cause a ValueError, too.
            raise UnusableNetwork(f"{spec.file}: {_reason(error)}") from None
        # XNNPACK has its own weights: the model's pages are not read again.
        release_clean_pages(*read_once)
        self._facts = SessionFacts(
            engine="litert",
            binding="Python",
            version=version(PACKAGE),
            threads=spec.threads,
            import_ms=(loaded - started) * 1000,
            build_ms=(time.perf_counter() - loaded) * 1000,
            precision=_precision(interpreter),
            features=self._length,
        )

    @property
    def facts(self) -> SessionFacts:
        """Facts about the Session."""
        return self._facts

    def run(self, feed: Feed) -> Scores:
        """Classify pixels. Return ``(outputs,) float32``, dequantized.

        :raises BadFeed: the input is not float32 of the model's shape.
        :raises SessionError: LiteRT reports a failure.
        """
        return self.run_with_features(feed)[0]

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        """Classify like :meth:`run`, and return the features, too."""
        runner = self._runner
        if runner is None:
            raise SessionError("the Session is closed")
        pixels = check_pixels(feed, self._shape)
        try:
            found = runner.run(self._in.quantise(pixels) if self._in else pixels)
        except (ValueError, RuntimeError) as error:
            raise SessionError(f"LiteRT: {one_line(error)}") from None
        scores, *features = [
            (scale.dequantise(each) if scale else each).reshape(-1)
            for each, scale in zip(found, self._out, strict=True)
        ]
        return scores, features[0] if features else np.empty(0, np.float32)

    def close(self) -> None:
        """Free the network's memory."""
        self._runner = None

    def _connect(self, interpreter: Any, spec: SessionSpec, weights: Path | None, make: bool) -> None:
        """Find the input and the output, determine their shapes, and run once."""
        fed = self._find(interpreter, "input", spec.input)
        fetched = [self._find(interpreter, "output", spec.output), *_features(interpreter)]
        self._in = _quantisation(fed, f"{spec.file}: the input `{fed['name']}`", INPUT_TYPES)
        self._out = [
            _quantisation(each, f"{spec.file}: the output `{each['name']}`", TYPES) for each in fetched
        ]
        self._resize(interpreter, fed)
        runner: Runner | None = None
        if weights:
            try:
                runner = MappedRunner(spec, weights, fed, fetched)
            except SessionError as error:
                if make:
                    raise NotMappable(one_line(error)) from None
                LOG.warning("%s: its packed weights cannot be mapped: %s", spec.file, one_line(error))
        self._runner = runner = runner or InterpreterRunner(interpreter, fed, fetched)
        # The first run touches all memory for the first time, so it counts as loading.
        scores, features = self.run_with_features(np.zeros(self._shape, np.float32))
        self._length = features.size
        if not scores.size or scores.size != max(runner.shapes[0]):
            raise UnusableNetwork(
                f"{spec.file}: the output `{fetched[0]['name']}` is not a vector: its shape is "
                f"{runner.shapes[0]}"
            )

    def _find(self, interpreter: Any, what: str, name: str) -> Details:
        """Return the input or output called `name`, or the only one besides the features."""
        details = interpreter.get_input_details() if what == "input" else interpreter.get_output_details()
        found = [each for each in details if each["name"] != FEATURES]
        by_name: dict[str, Details] = {each["name"]: each for each in found}
        if what == "input" and len(found) != 1:
            names = _listed(by_name)
            raise UnusableNetwork(
                f"{self._file}: the model has {len(found)} inputs ({names}), but must have one"
            )
        if not name:
            if len(found) != 1:
                raise UnusableNetwork(
                    f"{self._file}: the model has {len(found)} outputs ({_listed(by_name)}); name one"
                )
            return by_name.popitem()[1]
        for key in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(key)
            signature = runner.get_input_details() if what == "input" else runner.get_output_details()
            for called, each in signature.items():
                if each["name"] in by_name:
                    by_name.setdefault(called, by_name[each["name"]])
        for candidate in (name, f"{name}:0", name.removesuffix(":0")):
            if candidate in by_name:
                return by_name[candidate]
        raise UnusableNetwork(f"{self._file}: there is no {what} `{name}`, but {_listed(by_name)}")

    def _resize(self, interpreter: Any, fed: Details) -> None:
        """Resize the model's open dimensions, -1, to the expected shape; all others must match."""
        signature = tuple(int(side) for side in fed["shape_signature"])
        fits = len(signature) == len(self._shape) and all(
            side in (-1, wanted) for side, wanted in zip(signature, self._shape, strict=True)
        )
        if not fits:
            raise UnusableNetwork(
                f"{self._file}: the input `{fed['name']}` has the shape {signature}, not {self._shape}"
            )
        if tuple(fed["shape"]) != self._shape:
            interpreter.resize_tensor_input(fed["index"], self._shape, strict=True)


def _import_interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise SessionError(
            f"LiteRT cannot be imported ({one_line(error)}); install it: {pip_install(PACKAGE)}"
        ) from None
    return Interpreter


def _open(make_interpreter: Any, spec: SessionSpec) -> Any:
    try:
        with spec.file.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise SessionError(f"{spec.file}: cannot be read: {error.strerror}") from None
    if head[4:] != IDENTIFIER:
        raise UnusableNetwork(f"{spec.file}: not a LiteRT model (.tflite)")
    try:
        # The library verifies the whole flatbuffer before it uses any of it.
        return make_interpreter(model_path=str(spec.file), num_threads=spec.threads)
    except MemoryError as error:
        raise SessionError(f"{spec.file}: cannot be opened: {one_line(error) or 'out of memory'}") from None
    except (ValueError, RuntimeError) as error:
        raise UnusableNetwork(f"{spec.file}: damaged or truncated: {one_line(error)}") from None


def _features(interpreter: Any) -> list[Details]:
    """Return the output of the features, if the network has one."""
    found = [each for each in interpreter.get_output_details() if each["name"] == FEATURES]
    return [each for each in found if is_feature_vector(tuple(each["shape"]))]


def _precision(interpreter: Any) -> str:
    """Return the narrowest number format in which the network computes."""
    tensors = interpreter.get_tensor_details()
    types = {
        np.dtype(each["dtype"]).name
        for each in tensors
        if each["dtype"] == np.float16 or each["quantization_parameters"]["scales"].size
    }
    return next((name for name in ("int8", "uint8", "int16", "float16") if name in types), "float32")


def _quantisation(tensor: Details, what: str, types: Sequence[type]) -> Quantisation | None:
    """Return the quantization of a tensor's elements, or None for floats."""
    dtype = np.dtype(tensor["dtype"])
    if dtype not in types:
        names = ", ".join(np.dtype(each).name for each in types)
        raise UnusableNetwork(f"{what} is {dtype.name}, but must be one of {names}")
    if dtype.kind == "f":
        return None
    if len(tensor["quantization_parameters"]["scales"]) > 1:
        raise UnusableNetwork(f"{what} is quantized with a scale per channel, but must have a single scale")
    scale, zero_point = tensor["quantization"]
    # Integers without a scale stand for themselves, as for a network that takes pixels from 0 to 255.
    return Quantisation(dtype, float(scale) or 1.0, int(zero_point))


def _listed(names: Mapping[str, Details]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _reason(error: Exception) -> str:
    message = one_line(error)
    node = FAILED_NODE.search(message)
    if node and node[1].startswith("Flex"):
        operation = node[1].removeprefix("Flex")
        return f"LiteRT does not support TensorFlow's {operation}; convert with built-in operations only"
    return f"LiteRT cannot run it: {message}"


def _open_session(spec: SessionSpec, prepared: Path | None, spare_mb: SpareMemory) -> Session:
    with quiet_stderr():
        return LiteRTSession(spec, prepared)


def _needed_mb(network_mb: float) -> float:
    """Return the measured need, rounded up, of networks of 9 to 96 MiB."""
    return 60 + 2.5 * network_mb


LITERT = Engine(
    name="litert",
    format="tflite",
    module="ai_edge_litert",
    package=PACKAGE,
    open=_open_session,
    needed_mb=_needed_mb,
)
