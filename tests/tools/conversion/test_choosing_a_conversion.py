"""Which conversion of a model is run, and which is passed over."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import graphs
from incv3d.models.conversions import (
    DESCRIPTION,
    Comparison,
    Conversion,
    EngineMeasurements,
    open_conversion,
)
from incv3d.models.entry import Golden, ModelError
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel
from incv3d.pipeline.loader import choose_conversion
from tiny_models import SIDE, add_rgb

FIGURES = EngineMeasurements(engine="x", run_ms=1, peak_memory_mb=1, size_bytes=1, distinct_scores=1)
COMPARISON = Comparison(
    images=10, top1_agreement=1, top5_agreement=1, largest_difference=0, median_difference=0, threads=1,
    session=FIGURES, conversion=FIGURES,
)  # fmt: skip


def pretend(model: StoredModel, precision: str, **changed: object) -> Path:
    """A conversion that was never made, for choosing alone."""
    folder = model.directory / f"litert-{precision}"
    folder.mkdir()
    (folder / FLATBUFFER).write_bytes(b"network")
    facts = Conversion(
        format=1, precision=precision, source_sha256=model.manifest.sha256, converter="x", converted_at="",
        calibration_images=0, size_bytes=7, sha256="", comparison=COMPARISON,
    )  # fmt: skip
    (folder / DESCRIPTION).write_bytes(msgspec.json.encode(msgspec.structs.replace(facts, **changed)))
    return folder


def chosen(engine: str, model: StoredModel) -> str | None:
    found = choose_conversion(engine, model)
    return found.facts.precision if found else None


def test_int8_is_preferred_and_tensorflow_takes_none(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    assert chosen("auto", model) is None and chosen("litert", model) is None
    pretend(model, "float32")
    assert chosen("auto", model) == chosen("litert", model) == "float32"
    pretend(model, "int8")
    assert chosen("auto", model) == "int8"
    assert chosen("tensorflow", model) is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"source_sha256": "0" * 64}, "was not made from this model's graph"),
        ({"size_bytes": 8}, "7 bytes instead of 8"),
        ({"format": 9}, "has format 9"),
        ({}, "damaged"),
    ],
)
def test_a_conversion_of_another_graph_or_a_damaged_one_is_ignored(
    tiny: Path, changed: dict, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelStore(tiny).get("rgb")
    folder = pretend(model, "int8", **changed)
    if not changed:
        (folder / DESCRIPTION).write_text("{")
    assert chosen("auto", model) is None
    assert complaint in caplog.text and "convert it again" in caplog.text
    with pytest.raises(ModelError, match=complaint):
        open_conversion(model, "int8")


def test_a_model_that_is_imported_again_has_no_old_conversion(tiny: Path) -> None:
    store = ModelStore(tiny)
    model = store.get("rgb")
    folder = tiny / "litert-int8"
    pretend(model, "int8").rename(folder)
    store.remove("rgb")
    again = add_rgb(tiny, graphs.strongest_channel(SIDE) + graphs.relu("more", "pixels"))
    assert chosen("auto", again) is None
    with pytest.raises(ModelError, match="rgb was replaced or removed in the meantime"):
        store.attach(model, folder)
    assert not list(again.directory.glob("litert-*"))


def test_a_conversions_golden_answer_is_its_own_score_for_the_same_label(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    pretend(model, "int8", golden_score=0.8)
    found = open_conversion(model, "int8")
    known = Golden(image="p.jpg", label="red", score=0.9)
    assert found.golden(known) == Golden(image="p.jpg", label="red", score=0.8, tolerance=0.05)
    assert found.golden(None) is None
