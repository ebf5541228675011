"""Fast preparation against exact: the same top label, and nearly the same score."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from incv3d.config.schema import Config, ModelSection, SessionSection
from incv3d.frames import Frame, Prediction
from incv3d.models.store import ModelStore
from incv3d.pipeline.loader import load_classifier

pytestmark = pytest.mark.slow

LARGE_PIXELS = 3000 * 2000
SURE_FROM = 0.25
"""Below this top score a network wavers between several labels: any other way of resizing turns some over."""


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((shared / "images").iterdir())]


@pytest.fixture(scope="module")
def enlarged(photographs: list[bytes]) -> list[bytes]:
    """Every fifth photograph as a JPEG of six million pixels."""
    return [enlarge(data) for data in photographs[::5]]


def enlarge(data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    factor = (LARGE_PIXELS / (image.width * image.height)) ** 0.5
    size = (round(image.width * factor), round(image.height * factor))
    out = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
    return out.getvalue()


def best(state: Path, model: str, preprocess: str, images: Sequence[bytes]) -> list[Prediction]:
    """The first prediction of each picture."""
    config = Config(
        model=ModelSection(name=model, top_k=1),
        session=SessionSection(preprocess=preprocess),  # type: ignore[arg-type]
    )
    classifier = load_classifier(config, ModelStore(state), warmup_runs=0).classifier
    try:
        frames = [Frame("test", data, None, received=0.0, captured=0.0) for data in images]
        return [classifier.classify(classifier.prepare(frame)).predictions[0] for frame in frames]
    finally:
        classifier.session.close()


@pytest.mark.parametrize("model", ["standin", "efficientnet-lite0"])
def test_fast_and_exact_agree_on_photographs(
    model: str, standin: Path, state: Path, photographs: list[bytes]
) -> None:
    where = standin if model == "standin" else state
    exact = best(where, model, "exact", photographs)
    fast = best(where, model, "fast", photographs)
    same = [a.index == b.index for a, b in zip(exact, fast, strict=True)]
    assert len(same) >= 100 and np.mean(same) >= 0.99
    assert np.median([abs(a.score - b.score) for a, b in zip(exact, fast, strict=True)]) <= 0.01


@pytest.mark.parametrize("model", ["standin", "efficientnet-lite0"])
def test_fast_and_exact_agree_where_jpegs_are_decoded_smaller(
    model: str, standin: Path, state: Path, enlarged: list[bytes]
) -> None:
    where = standin if model == "standin" else state
    exact = best(where, model, "exact", enlarged)
    fast = best(where, model, "fast", enlarged)
    sure = [(a, b) for a, b in zip(exact, fast, strict=True) if a.score >= SURE_FROM]
    assert len(sure) > len(enlarged) * 0.8
    assert np.mean([a.index == b.index for a, b in sure]) >= 0.99
    differences = [abs(a.score - b.score) for a, b in zip(exact, fast, strict=True)]
    # Above nothing at all: else both would have been decoded alike.
    assert 0 < np.median(differences) <= 0.01
