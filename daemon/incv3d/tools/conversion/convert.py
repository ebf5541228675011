"""Convert a stored model to LiteRT, compare it on images, and keep it with the model if it agrees."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from incv3d.config.schema import Config
from incv3d.engines import engine_of
from incv3d.errors import pip_install
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.machine import available_memory_mb
from incv3d.models.conversions import (
    Comparison,
    Conversion,
    Precision,
    StoredConversion,
    describe,
    flatbuffer_spec,
    folder_name,
    own_converter,
    tensorflow_converter,
    write_facts,
)
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.float32 import UnsupportedGraph, find_float32, make_float32
from incv3d.models.flatbuffer.quantise import QuantiseJob, check_library, needed_mb, quantiser_name
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.graph.to_litert import FloatJob
from incv3d.models.packed_weights import ensure_ready
from incv3d.models.prepare import ensure_prepared, run_child
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel
from incv3d.pipeline.golden_check import GoldenMismatch, check_golden
from incv3d.pipeline.loader import open_classifier
from incv3d.pipeline.session_spec import input_spec, threads_of
from incv3d.tools.conversion.calibration import CalibrationSet, gather
from incv3d.tools.conversion.comparison import compare
from incv3d.tools.conversion.worker import SessionJob

CONVERTER = "incv3d.models.graph.to_litert"
QUANTISER = "incv3d.models.flatbuffer.quantise"
SCRATCH = "converting"
AGREEMENT: dict[Precision, float] = {"int8": 0.94, "float32": 0.99}
"""The least top-1 agreement with the float Session at which a conversion is kept."""

IMPORT_MB = 700
MB_PER_GRAPH_MB = 10
"""MiB that importing TensorFlow takes, and that its converter takes per MiB of the graph. Measured with
TensorFlow 2.21 on x86-64: a peak of 1608 for a graph of 91, of 828 for one of 18."""

COUNT = re.compile(r"(\d+)/(\d+)")


class Progress(Protocol):
    """Shows the progress of a conversion."""

    def step(self, what: str) -> None:
        """Begin a new step."""

    def count(self, done: int, total: int) -> None:
        """Show how much of the step is done."""


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """The conversion to make."""

    precision: Precision
    frames: Iterable[Frame | None]
    """None for an image that cannot be read."""
    number: int
    """Maximum number of frames."""
    in_blocks: bool
    """Divide the frames in blocks; for a camera's, because neighbors are alike."""
    min_agreement: float


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """The result of a conversion."""

    precision: Precision
    images: CalibrationSet
    comparison: Comparison
    kept: Conversion | None
    """None: it does not agree well enough, and was not stored."""
    complaint: str = ""
    """Why it was not kept."""


def _unconvertible(model: StoredModel) -> str:
    if model.entry.format == "onnx":
        return (
            f"{model.name} is an .onnx network, which ONNX Runtime runs directly; it is not converted: for "
            f"int8, quantize it where it was made (onnxruntime.quantization), and import the result"
        )
    return f"{model.name} is already a .tflite model, which LiteRT runs directly"


def convert_model(
    config: Config, store: ModelStore, model: StoredModel, request: ConversionRequest, progress: Progress
) -> ConversionResult:
    """Convert `model`, compare, and store the conversion with it if it agrees well enough.

    :raises ModelError: if it cannot be converted, or the store cannot be written, which leaves it unchanged.
    :raises CalibrationError: if too few images are usable.
    :raises SourceError: if the source gives no frames.
    :raises SessionError: if the conversion cannot be run.
    """
    check_convertible(model, request.precision)
    with store.scratch_folder(SCRATCH) as scratch:
        pixels = PixelFile(scratch / "pixels", model.session_spec(1).input_shape)
        check_disk(scratch, model, pixels.image_bytes * request.number)
        images = _gather(config, model, request, pixels, progress)
        result = convert_pixels(
            config, store, model, request.precision, images, request.min_agreement, scratch, progress
        )
    make_ready(store, model, result, progress)
    return result


def make_ready(store: ModelStore, model: StoredModel, result: ConversionResult, progress: Progress) -> None:
    """Prepare a conversion that was kept for its first start."""
    if result.kept:
        folder = model.directory / folder_name(result.precision)
        ensure_ready(model, store, progress.step, StoredConversion(folder, result.kept))


def check_convertible(model: StoredModel, precision: Precision) -> None:
    """Raise ModelError if `model` cannot be converted on this machine."""
    if model.entry.format != "graphdef":
        raise ModelError(_unconvertible(model))
    golden = model.entry.golden
    if golden and not (model.directory / golden.image).is_file():
        raise ModelError(f"{model.directory / golden.image}: missing; import {model.name} again")
    if precision == "int8":
        check_library()
        check_quantiser_memory(model)


def convert_pixels(
    config: Config,
    store: ModelStore,
    model: StoredModel,
    precision: Precision,
    images: CalibrationSet,
    min_agreement: float,
    scratch: Path,
    progress: Progress,
    *,
    frugal: bool = False,
) -> ConversionResult:
    """Convert `model`, compare on the held-back images, and store the conversion if it agrees well enough.

    :param scratch: an empty folder on the store's disk.
    :param frugal: never use TensorFlow, and compare one Session after the other: that takes half the memory,
        but the run times were then not measured side by side.
    :raises ModelError: like :func:`convert_model`.
    :raises SessionError: like :func:`convert_model`.
    """
    folder = scratch / folder_name(precision)
    folder.mkdir()
    network = folder / FLATBUFFER
    if precision == "int8":
        kept = find_float32(model)
        floats, converter = kept.network if kept else scratch / "float32.tflite", quantiser_name()
        if kept is None:
            _convert_to_float32(model, floats, progress)
        _quantise(config, floats, images, network, progress)
    else:
        floats, converter = network, _convert_to_float32(model, network, progress)
    session = _float_session(config, store, model, None if frugal else precision, floats, images, progress)
    progress.step(f"comparing on {len(images.held_back)} images")
    spec = flatbuffer_spec(session.spec, network)
    conversion = msgspec.structs.replace(session, spec=spec, prepared=None)
    comparison = compare(session, conversion, images.held_back, progress.count, in_turns=not frugal)
    if comparison.top1_agreement < min_agreement:
        complaint = (
            f"its top-1 agreement with the float Session is {comparison.top1_agreement:.1%}; "
            f"at least {min_agreement:.1%} is required"
        )
        return ConversionResult(precision, images, comparison, None, complaint)
    try:
        golden_score = _golden_score(config, model, network)
    except GoldenMismatch as error:
        return ConversionResult(precision, images, comparison, None, str(error))
    calibrated = len(images.calibrating)
    facts = describe(model, precision, network, converter, calibrated, comparison, golden_score)
    write_facts(facts, folder)
    store.attach(model, folder)
    return ConversionResult(precision, images, comparison, facts)


def check_memory(model: StoredModel, proc_root: Path = Path("/proc")) -> None:
    """Raise ModelError if this machine has too little free memory for TensorFlow's converter."""
    _check_memory(model, IMPORT_MB + MB_PER_GRAPH_MB * model.size_bytes / 2**20, proc_root)


def check_quantiser_memory(model: StoredModel, proc_root: Path = Path("/proc")) -> None:
    """Raise ModelError if this machine has too little free memory to quantize `model`."""
    _check_memory(model, needed_mb(model.size_bytes / 2**20), proc_root)


def _check_memory(model: StoredModel, needed: float, proc_root: Path) -> None:
    spare_mb = available_memory_mb(proc_root)
    if spare_mb is not None and spare_mb < needed:
        raise ModelError(
            f"converting {model.name} takes {needed:.0f} MB of memory, {spare_mb:.0f} MB are free "
            f"(including swap): convert it on a larger machine, run `incv3d model export {model.name} FILE` "
            f"there, copy FILE, and run `incv3d model import FILE --replace` here"
        )


def check_disk(folder: Path, model: StoredModel, pixels_bytes: int) -> None:
    """Raise ModelError if there is too little disk space for the pixels and two networks."""
    needed_bytes = pixels_bytes + 2 * model.size_bytes
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ModelError(
            f"{folder.parent}: {needed_bytes / 1e6:.0f} MB are needed temporarily, {free_bytes / 1e6:.0f} MB "
            f"are free ({pixels_bytes / 1e6:.0f} MB of it for the pixels: use fewer images to need less)"
        )


def _gather(
    config: Config, model: StoredModel, request: ConversionRequest, pixels: PixelFile, progress: Progress
) -> CalibrationSet:
    mode = config.session.preprocess
    preprocessor = Preprocessor(input_spec(model.entry), config.intake.max_pixels, mode)
    size_mb = pixels.image_bytes * request.number / 1e6
    progress.step(f"preparing {request.number} images ({size_mb:.0f} MB in {pixels.path.parent})")
    counted: Callable[[int], None] = lambda done: progress.count(done, request.number)  # noqa: E731
    return gather(
        request.frames, preprocessor, pixels, request.precision == "int8", request.in_blocks, counted
    )


def _convert_to_float32(model: StoredModel, network: Path, progress: Progress) -> str:
    """Write the float32 flatbuffer to the file `network`, and return the name of the converter.

    What the own converter does not support goes through TensorFlow's, if that is installed.
    """
    progress.step("converting to float32")
    try:
        make_float32(model, network)
        return own_converter()
    except UnsupportedGraph as error:
        if not engine_of("tensorflow").is_installed:
            raise ModelError(
                f"{error}; TensorFlow's converter may support it: {pip_install('tensorflow')}"
            ) from None
        check_memory(model)
        progress.step(f"converting with TensorFlow ({error})")
    spec = model.session_spec(1)
    job = FloatJob(
        graph=str(spec.file), input=spec.input, input_shape=spec.input_shape, output=spec.output,
        out=str(network),
    )  # fmt: skip
    run_child(CONVERTER, [msgspec.json.encode(job).decode()])
    return tensorflow_converter()


def _quantise(
    config: Config, floats: Path, images: CalibrationSet, network: Path, progress: Progress
) -> None:
    """Quantize the flatbuffer `floats`, and write the result to the file `network`."""
    progress.step(f"calibrating with {len(images.calibrating)} images, quantizing")
    job = QuantiseJob(
        network=str(floats), pixels=str(images.pixels.path), images=images.calibrating,
        input_shape=images.pixels.shape, threads=threads_of(config), out=str(network),
    )  # fmt: skip

    def heard(line: str) -> None:
        found = COUNT.fullmatch(line)
        if found:
            progress.count(int(found[1]), int(found[2]))

    # OpenBLAS allocates memory for each of its threads, which have nothing to do here.
    settings = {"OPENBLAS_NUM_THREADS": "1"}
    run_child(QUANTISER, [msgspec.json.encode(job).decode()], settings, heard)


def _float_session(
    config: Config,
    store: ModelStore,
    model: StoredModel,
    precision: Precision | None,
    floats: Path,
    images: CalibrationSet,
    progress: Progress,
) -> SessionJob:
    """Return the float Session to compare with: TensorFlow's; for int8, LiteRT's if TensorFlow is missing.

    :param precision: of the conversion; None: never TensorFlow's.
    """
    spec = model.session_spec(threads_of(config))
    tensorflow = precision and (precision == "float32" or engine_of("tensorflow").is_installed)
    return SessionJob(
        spec=spec if tensorflow else flatbuffer_spec(spec, floats),
        prepared=ensure_prepared(model, store, progress.step) if tensorflow else None,
        pixels=images.pixels.path,
        logits=model.entry.scores == "logits",
        binary=model.entry.binary,
    )


def _golden_score(config: Config, model: StoredModel, network: Path) -> float | None:
    """Return the conversion's score for the golden image, which it must at least label correctly."""
    golden = model.entry.golden
    if golden is None:
        return None
    spec = flatbuffer_spec(model.session_spec(threads_of(config)), network)
    with contextlib.closing(open_classifier(config, model, spec, None)) as classifier:
        return check_golden(classifier, model, msgspec.structs.replace(golden, score=None))
