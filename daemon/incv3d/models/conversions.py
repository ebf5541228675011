"""Read a model's LiteRT conversions in the store: a flatbuffer with a description of its origin and quality.

A conversion lies in its model's folder, so that it is removed or replaced with the model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import msgspec

import incv3d
from incv3d.clock import timestamp
from incv3d.engines.base import SessionSpec
from incv3d.models.entry import Golden, ModelError
from incv3d.models.feature_marks import note_none, returns_features
from incv3d.models.files import sha256_of
from incv3d.models.store import FLATBUFFER, StoredModel

Precision = Literal["int8", "float32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Best first: int8 is smaller and faster, and its agreement was shown when it was made."""
DESCRIPTION = "conversion.json"
FORMAT = 2
"""Written for networks with an output for their features, which older versions cannot run: those make their
own conversion again. This version reads format 1, too."""
GOLDEN_TOLERANCE = 0.05
"""Other processors round the integers of a quantized network differently."""


class EngineMeasurements(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measurements of one of the two compared Sessions, each in its own process."""

    engine: str
    run_ms: float
    """The median of its runs, which alternated with the other's."""
    peak_memory_mb: float
    """Peak memory of its process in MiB (``VmHWM``)."""
    size_bytes: int
    """Size of the network's file."""
    distinct_scores: int
    """Number of different scores that occurred. An 8-bit output can have 256."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison of a conversion with the float Session, on the same images, none of them used for
    calibration."""

    images: int = msgspec.field(name="pictures")
    top1_agreement: float
    """Fraction of images to which both give the same best class."""
    top5_agreement: float
    """Fraction of images for which the float Session's best class is among the conversion's best five."""
    largest_difference: float
    """The largest difference of any score for any image."""
    median_difference: float
    """The median, over the images, of the difference in the score of the float Session's best class."""
    threads: int
    session: EngineMeasurements
    conversion: EngineMeasurements


class OriginalCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison of a float32 conversion with the graph that it was made from, which NumPy ran."""

    images: int = msgspec.field(name="pictures")
    largest_difference: float
    """The largest difference of any score for any image."""
    largest_score: float


class Conversion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of a conversion. It is written last, so its presence means that the conversion is
    complete."""

    format: int
    precision: Precision
    source_sha256: str
    """SHA-256 of the frozen graph that was converted."""
    converter: str
    """The converter's name and version: ``incv3d-3.0``, or ``tensorflow-2.21`` for TensorFlow's own."""
    converted_at: str
    calibration_images: int = msgspec.field(name="calibration_pictures")
    size_bytes: int
    sha256: str
    """Checked on import; checking it at every start would take seconds on a Raspberry Pi."""
    comparison: Comparison | None = None
    """None: it was compared with the graph itself, see `check`."""
    check: OriginalCheck | None = None
    golden_score: float | None = None
    """Its score for the model's golden image; None: the model has none, or its own score applies."""

    @property
    def agreement(self) -> str:
        """How well it agrees with the network that it was made from, in words."""
        if self.comparison:
            return f"top-1 agreement {self.comparison.top1_agreement * 100:.1f} %"
        return (
            f"largest score difference {self.check.largest_difference:.1g}" if self.check else "not compared"
        )


@dataclass(frozen=True, slots=True)
class StoredConversion:
    """A conversion in the store, checked."""

    directory: Path
    facts: Conversion

    @property
    def network(self) -> Path:
        """The path of the LiteRT flatbuffer."""
        return self.directory / FLATBUFFER

    @property
    def is_whole(self) -> bool:
        """Whether the flatbuffer is the one described. Reading it takes seconds on a Raspberry Pi."""
        try:
            return sha256_of(self.network) == self.facts.sha256
        except OSError:
            return False

    def session_spec(self, model: StoredModel, threads: int) -> SessionSpec:
        """Return the spec for a Session of the conversion."""
        return flatbuffer_spec(model.session_spec(threads), self.network)

    def golden(self, known: Golden | None) -> Golden | None:
        """Return the expected answer for the golden image: the `known` label with the conversion's own
        score."""
        if known is None or known.score is None or self.facts.golden_score is None:
            return known
        tolerance = max(known.tolerance, GOLDEN_TOLERANCE)
        return msgspec.structs.replace(known, score=self.facts.golden_score, tolerance=tolerance)


def flatbuffer_spec(spec: SessionSpec, network: Path) -> SessionSpec:
    """Return the spec for a flatbuffer converted from the network of `spec`."""
    return replace(spec, file=network, format="tflite", input="", output="", jpeg_input="", image_input="")


def folder_name(precision: Precision) -> str:
    """Return the name of a conversion's folder in the folder of its model."""
    return f"litert-{precision}"


def own_converter() -> str:
    """Return the name of the converter that needs no TensorFlow, and its version."""
    return f"incv3d-{_short(incv3d.__version__)}"


def tensorflow_converter() -> str:
    """Return the name of TensorFlow's converter, and its version."""
    return f"tensorflow-{_short(version('tensorflow'))}"


def _short(version_: str) -> str:
    return ".".join(version_.split(".")[:2])


def describe(
    model: StoredModel, precision: Precision, network: Path, converter: str, calibration_images: int,
    comparison: Comparison | None, golden_score: float | None, check: OriginalCheck | None = None,
) -> Conversion:  # fmt: skip
    """Return a description of the conversion whose flatbuffer is the file `network`."""
    return Conversion(
        format=FORMAT,
        precision=precision,
        source_sha256=model.manifest.sha256,
        converter=converter,
        converted_at=timestamp(time.time()),
        calibration_images=calibration_images,
        size_bytes=network.stat().st_size,
        sha256=sha256_of(network),
        comparison=comparison,
        check=check,
        golden_score=golden_score,
    )


def write_facts(facts: Conversion, folder: Path) -> None:
    """Write the description of a conversion to its folder, last of all.

    A network that was made without features has none: that is noted, too, so that no start looks for them.
    """
    if not returns_features(folder / FLATBUFFER):
        note_none(folder / FLATBUFFER, facts.sha256)
    (folder / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def converted_precisions(directory: Path) -> list[Precision]:
    """Return the precisions of the conversions in a model's folder, damaged ones included, best first."""
    return [each for each in PRECISIONS if (directory / folder_name(each)).is_dir()]


def open_conversion(model: StoredModel, precision: Precision) -> StoredConversion:
    """Return a conversion of `model`, after checking its file against its description.

    :raises ModelError: it is missing, damaged, or made from another graph.
    """
    try:
        return read_conversion(model.directory, precision, model.manifest.sha256)
    except ModelError as error:
        again = f"incv3d model convert {model.name} --to {precision}"
        raise ModelError(f"{error}; convert it again: {again}") from None


def read_conversion(model: Path, precision: Precision, source_sha256: str) -> StoredConversion:
    """Return the conversion in the folder `model`, if it was made from the graph with that SHA-256.

    :raises ModelError: it is missing, damaged, or made from another graph.
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
    if not 1 <= facts.format <= FORMAT:
        raise ModelError(f"{path}: has format {facts.format}, but this version reads formats up to {FORMAT}")
    if facts.source_sha256 != source_sha256:
        raise ModelError(f"{path}: was not made from this model's graph")
    if facts.precision != precision or size_bytes != facts.size_bytes:
        raise ModelError(f"{network}: damaged: {size_bytes} bytes instead of {facts.size_bytes}")
    return StoredConversion(directory, facts)
