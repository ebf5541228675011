"""A model's LiteRT conversions in the store: a flatbuffer, and beside it what it was made of and how it did.

A conversion lies in the folder of its model, so that it goes when the model is replaced or removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from incv3d.engines.base import SessionSpec
from incv3d.models.entry import Golden, ModelError
from incv3d.models.files import sha256_of
from incv3d.models.store import FLATBUFFER, StoredModel

Precision = Literal["int8", "float32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Best first: int8 is smaller and faster, and whoever made one has seen how far it agrees."""
DESCRIPTION = "conversion.json"
FORMAT = 1
GOLDEN_TOLERANCE = 0.05
"""Another processor rounds the integers of a quantised network elsewhere."""


class EngineFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two that were compared, in a process of its own."""

    engine: str
    run_ms: float
    """The median of its runs, which alternated with those of the other."""
    peak_memory_mb: float
    """MiB that its process had at most (``VmHWM``)."""
    size_bytes: int
    """Of the network's file."""
    distinct_scores: int
    """How many different scores it gave. An output of 8 bits can give 256."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversion beside the float Session on the same pictures, none of which it was calibrated with."""

    pictures: int
    top1_agreement: float
    """Of 1: how often both put the same class first."""
    top5_agreement: float
    """Of 1: how often the float Session's first class is among the conversion's five best."""
    largest_difference: float
    """Of any score of any picture."""
    median_difference: float
    """The median over the pictures of the score of the float Session's first class."""
    threads: int
    session: EngineFigures
    conversion: EngineFigures


class Conversion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written beside a converted network; its presence says that the conversion is whole."""

    format: int
    precision: Precision
    source_sha256: str
    """Of the frozen graph that it was made from."""
    converter: str
    """The TensorFlow whose converter made it, ``tensorflow-2.21``."""
    converted_at: str
    calibration_pictures: int
    size_bytes: int
    sha256: str
    """Checked when it is imported; at every start it would cost a Raspberry Pi seconds."""
    comparison: Comparison
    golden_score: float | None = None
    """What it gave the model's golden picture; None: the model has none."""


@dataclass(frozen=True, slots=True)
class StoredConversion:
    """A conversion in the store, checked."""

    directory: Path
    facts: Conversion

    @property
    def network(self) -> Path:
        """The LiteRT flatbuffer."""
        return self.directory / FLATBUFFER

    def session_spec(self, model: StoredModel, threads: int) -> SessionSpec:
        """What a Session of it is opened with."""
        return flatbuffer_spec(model.session_spec(threads), self.network)

    def golden(self, known: Golden | None) -> Golden | None:
        """What the conversion must give the golden picture: the `known` label, and its own score."""
        if known is None or known.score is None or self.facts.golden_score is None:
            return known
        tolerance = max(known.tolerance, GOLDEN_TOLERANCE)
        return msgspec.structs.replace(known, score=self.facts.golden_score, tolerance=tolerance)


def flatbuffer_spec(spec: SessionSpec, network: Path) -> SessionSpec:
    """The Session of a flatbuffer that was converted from the network of `spec`."""
    return replace(spec, file=network, format="tflite", input="", output="", jpeg_input="", picture_input="")


def folder_name(precision: Precision) -> str:
    """What a conversion's folder is called in that of its model."""
    return f"litert-{precision}"


def describe(
    model: StoredModel, precision: Precision, network: Path, converter: str, calibration_pictures: int,
    comparison: Comparison, golden_score: float | None,
) -> Conversion:  # fmt: skip
    """The facts of the conversion whose flatbuffer is the file `network`."""
    return Conversion(
        format=FORMAT,
        precision=precision,
        source_sha256=model.manifest.sha256,
        converter=converter,
        converted_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        calibration_pictures=calibration_pictures,
        size_bytes=network.stat().st_size,
        sha256=sha256_of(network),
        comparison=comparison,
        golden_score=golden_score,
    )


def converted_precisions(directory: Path) -> list[Precision]:
    """The conversions in the folder of a model, whole or damaged, best first."""
    return [each for each in PRECISIONS if (directory / folder_name(each)).is_dir()]


def open_conversion(model: StoredModel, precision: Precision) -> StoredConversion:
    """A conversion of `model`, its file checked against its description.

    :raises ModelError: when it is not there, damaged, or of another graph.
    """
    try:
        return read_conversion(model.directory, precision, model.manifest.sha256)
    except ModelError as error:
        again = f"incv3d model convert {model.name} --to {precision}"
        raise ModelError(f"{error}; convert it again: {again}") from None


def read_conversion(model: Path, precision: Precision, source_sha256: str) -> StoredConversion:
    """The conversion in the folder `model`, which must be of the graph with that SHA-256.

    :raises ModelError: when it is not there, damaged, or of another graph.
    """
    directory = model / folder_name(precision)
    path, network = directory / DESCRIPTION, directory / FLATBUFFER
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=Conversion)
        size_bytes = network.stat().st_size
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: damaged: {error}") from None
    if facts.format != FORMAT:
        raise ModelError(f"{path}: of format {facts.format}, this program reads format {FORMAT}")
    if facts.source_sha256 != source_sha256:
        raise ModelError(f"{path}: made from another graph than the model's")
    if facts.precision != precision or size_bytes != facts.size_bytes:
        raise ModelError(f"{network}: {size_bytes} bytes, it had {facts.size_bytes} when it was made")
    return StoredConversion(directory, facts)
