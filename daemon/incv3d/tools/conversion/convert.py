"""Convert a model of the store to LiteRT, prove it on pictures, and keep it beside the model if it holds."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import msgspec

from incv3d.config.schema import Config
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.machine import available_memory_mb
from incv3d.models.conversions import (
    DESCRIPTION,
    Comparison,
    Conversion,
    Precision,
    describe,
    flatbuffer_spec,
    folder_name,
)
from incv3d.models.entry import ModelError
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.graph.to_litert import FloatJob, QuantiseJob
from incv3d.models.prepare import ensure_prepared, run_child
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel
from incv3d.pipeline.golden_check import GoldenMismatch, check_golden
from incv3d.pipeline.loader import input_spec, open_classifier, threads_of
from incv3d.tools.conversion.calibration import CalibrationSet, gather
from incv3d.tools.conversion.comparison import SessionJob, compare

CONVERTER = "incv3d.models.graph.to_litert"
WORKSHOP = "converting"
AGREEMENT: dict[Precision, float] = {"int8": 0.94, "float32": 0.99}
"""The least top-1 agreement with the float Session with which a conversion is kept."""

IMPORT_MB = 700
MB_PER_GRAPH_MB = 10
"""MiB: what TensorFlow's import takes, and the converter for each MiB of the graph. Measured with TensorFlow
2.21 on x86-64: a peak of 1608 for a graph of 91, of 828 for one of 18."""

COUNT = re.compile(r"(\d+)/(\d+)")


class Progress(Protocol):
    """Where a conversion is, for the person who waits."""

    def step(self, what: str) -> None:
        """A new step begins."""

    def count(self, done: int, total: int) -> None:
        """So much of the step is done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    precision: Precision
    frames: Iterable[Frame | None]
    """None for a picture that cannot be read."""
    number: int
    """How many frames there will be at most."""
    in_blocks: bool
    """Frames of a camera are divided in blocks, because neighbours are alike."""
    min_agreement: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    precision: Precision
    pictures: CalibrationSet
    comparison: Comparison
    kept: Conversion | None
    """None: it does not agree well enough, and is not in the store."""
    complaint: str = ""
    """Why it was not kept."""


def convert_model(
    config: Config, store: ModelStore, model: StoredModel, wanted: Wanted, progress: Progress
) -> Outcome:
    """Convert `model`, compare, and attach the conversion to it if it agrees well enough.

    :raises ModelError: it cannot be converted, or the store cannot be written; the store is as before.
    :raises CalibrationError: too few pictures are usable.
    :raises SourceError: the source gives no frames.
    :raises SessionError: what came out cannot be run.
    """
    if model.entry.format != "graphdef":
        raise ModelError(f"{model.name} is a .tflite model: LiteRT runs it as it is")
    golden = model.entry.golden
    if golden and not (model.directory / golden.picture).is_file():
        raise ModelError(f"{model.directory / golden.picture}: is missing; import {model.name} again")
    check_memory(model)
    with store.workshop(WORKSHOP) as scratch:
        pixels = PixelFile(scratch / "pixels", model.session_spec(1).input_shape)
        check_disk(scratch, model, pixels.picture_bytes * wanted.number)
        pictures = _gather(config, model, wanted, pixels, progress)
        folder = scratch / folder_name(wanted.precision)
        folder.mkdir()
        network = folder / FLATBUFFER
        _convert(model, wanted.precision, pictures, network, scratch, progress)
        prepared = ensure_prepared(model, store, progress.step)
        progress.step(f"comparing on {len(pictures.held_back)} pictures")
        comparison = _compare(config, model, network, prepared, pictures, progress)
        if comparison.top1_agreement < wanted.min_agreement:
            complaint = (
                f"its top-1 agreement with the float Session is {comparison.top1_agreement:.1%}, "
                f"it must be {wanted.min_agreement:.1%}"
            )
            return Outcome(wanted.precision, pictures, comparison, None, complaint)
        try:
            golden_score = _golden_score(config, model, network)
        except GoldenMismatch as error:
            return Outcome(wanted.precision, pictures, comparison, None, str(error))
        converter = f"tensorflow-{'.'.join(version('tensorflow').split('.')[:2])}"
        calibrated = len(pictures.calibrating)
        facts = describe(model, wanted.precision, network, converter, calibrated, comparison, golden_score)
        (folder / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
        store.attach(model, folder)
    return Outcome(wanted.precision, pictures, comparison, facts)


def check_memory(model: StoredModel, proc_root: Path = Path("/proc")) -> None:
    """Raise ModelError if this machine has too little memory to spare for converting `model`."""
    needed_mb = IMPORT_MB + MB_PER_GRAPH_MB * model.size_bytes / 2**20
    spare_mb = available_memory_mb(proc_root)
    if spare_mb is not None and spare_mb < needed_mb:
        raise ModelError(
            f"converting {model.name} takes {needed_mb:.0f} MB of memory, {spare_mb:.0f} MB are free (swap "
            f"included): convert it on a larger machine, `incv3d model export {model.name} FILE` there, "
            f"copy FILE, `incv3d model import FILE --replace` here"
        )


def check_disk(folder: Path, model: StoredModel, pixels_bytes: int) -> None:
    """Raise ModelError if there is too little room for the pixels and two networks."""
    needed_bytes = pixels_bytes + 2 * model.size_bytes
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ModelError(
            f"{folder.parent}: {needed_bytes / 1e6:.0f} MB are needed for a while, {free_bytes / 1e6:.0f} MB "
            f"are free ({pixels_bytes / 1e6:.0f} MB for the pixels: fewer pictures need less)"
        )


def _gather(
    config: Config, model: StoredModel, wanted: Wanted, pixels: PixelFile, progress: Progress
) -> CalibrationSet:
    mode = config.session.preprocess
    preprocessor = Preprocessor(input_spec(model.entry), config.intake.max_pixels, mode)
    size_mb = pixels.picture_bytes * wanted.number / 1e6
    progress.step(f"preparing {wanted.number} pictures ({size_mb:.0f} MB in {pixels.path.parent})")
    counted: Callable[[int], None] = lambda done: progress.count(done, wanted.number)  # noqa: E731
    return gather(wanted.frames, preprocessor, pixels, wanted.precision == "int8", wanted.in_blocks, counted)


def _convert(
    model: StoredModel,
    precision: Precision,
    pictures: CalibrationSet,
    network: Path,
    scratch: Path,
    progress: Progress,
) -> None:
    """Write the flatbuffer to the file `network`."""
    spec = model.session_spec(1)
    converted = network if precision == "float32" else scratch / "float32.tflite"
    progress.step("converting (imports TensorFlow)")
    _run(
        FloatJob(
            graph=str(spec.file), input=spec.input, input_shape=spec.input_shape, output=spec.output,
            out=str(converted),
        )
    )  # fmt: skip
    if precision == "int8":
        progress.step(f"calibrating with {len(pictures.calibrating)} pictures, quantising")
        job = QuantiseJob(
            network=str(converted), pixels=str(pictures.pixels.path), pictures=pictures.calibrating,
            input_shape=spec.input_shape, out=str(network),
        )  # fmt: skip
        _run(job, progress)
        converted.unlink()


def _run(job: FloatJob | QuantiseJob, progress: Progress | None = None) -> None:
    def heard(line: str) -> None:
        found = COUNT.fullmatch(line)
        if progress and found:
            progress.count(int(found[1]), int(found[2]))

    run_child(CONVERTER, [msgspec.json.encode(job).decode()], heard=heard)


def _compare(
    config: Config,
    model: StoredModel,
    network: Path,
    prepared: Path | None,
    pictures: CalibrationSet,
    progress: Progress,
) -> Comparison:
    spec = model.session_spec(threads_of(config))
    session = SessionJob(
        spec=spec,
        prepared=prepared,
        pixels=pictures.pixels.path,
        logits=model.entry.scores == "logits",
        binary=model.entry.binary,
    )
    return compare(
        session,
        msgspec.structs.replace(session, spec=flatbuffer_spec(spec, network), prepared=None),
        pictures.held_back,
        progress.count,
    )


def _golden_score(config: Config, model: StoredModel, network: Path) -> float | None:
    """What the conversion gives the golden picture, which it must at least call by its name."""
    golden = model.entry.golden
    if golden is None:
        return None
    spec = flatbuffer_spec(model.session_spec(threads_of(config)), network)
    with contextlib.closing(open_classifier(config, model, spec, None)) as classifier:
        return check_golden(classifier, model, msgspec.structs.replace(golden, score=None))
