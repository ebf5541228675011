"""The golden check: the known answer, or no start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.engines import SessionError
from incv3d.engines.base import Feed, Scores
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.models.entry import Golden, ModelEntry, ModelError
from incv3d.models.labels import Label, Labels
from incv3d.models.store import Manifest, StoredModel
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.golden_check import GoldenMismatch, check_golden


def model(folder: Path, golden: Golden | None) -> StoredModel:
    entry = ModelEntry(
        input="x:0", output="y:0", height=8, width=8, mean=0, scale=1, fit="stretch",
        interpolation="bilinear", outputs=2, golden=golden,
    )  # fmt: skip
    manifest = Manifest(manifest=1, entry=entry, sha256="", size_bytes=0, imported_at="")
    return StoredModel("mine", folder, manifest)


def classifier(session: ScriptedSession | None = None) -> Classifier:
    """One that sees `label 1` (synset n1) with 0.75 in every picture."""
    preprocessor = Preprocessor(InputSpec(8, 8, 0, 1, "stretch", 1.0, "bilinear"), 10_000)
    return Classifier(preprocessor, session or ScriptedSession(), TwoLabels(), top_k=1)


def check(classifier: Classifier, folder: Path, golden: Golden | None) -> float | None:
    return check_golden(classifier, model(folder, golden), golden)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "golden.jpg").write_bytes(jpeg())
    return tmp_path


@pytest.mark.parametrize(
    "golden",
    [
        None,
        Golden(image="golden.jpg", label="label 1"),
        Golden(image="golden.jpg", label="n1", score=0.75, tolerance=0),
        Golden(image="golden.jpg", label="label 1", score=0.76),
    ],
)
def test_the_known_answer_passes(folder: Path, golden: Golden | None) -> None:
    assert check(classifier(), folder, golden) == (golden and 0.75)


def test_another_label_or_score_says_what_was_expected_and_what_came(folder: Path) -> None:
    with pytest.raises(GoldenMismatch, match=r"should be `label 0`, but .* answers `label 1` 0\.75000"):
        check(classifier(), folder, Golden(image="golden.jpg", label="label 0"))
    wrong = Golden(image="golden.jpg", label="label 1", score=0.9, tolerance=0.1)
    with pytest.raises(GoldenMismatch, match=r"`label 1` 0\.90000 \(within 0\.1\), but .* 0\.75000"):
        check(classifier(), folder, wrong)


def test_a_picture_that_is_gone_or_damaged_is_named(folder: Path) -> None:
    golden = Golden(image="golden.jpg", label="label 1")
    (folder / "golden.jpg").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"golden\.jpg: cannot be classified: not a JPEG"):
        check(classifier(), folder, golden)
    (folder / "golden.jpg").unlink()
    with pytest.raises(ModelError, match=r"golden\.jpg: cannot be read: No such file"):
        check(classifier(), folder, golden)


def test_a_session_that_fails_at_it_is_named(folder: Path) -> None:
    def fail(number: int) -> None:
        raise SessionError("out of paper")

    with pytest.raises(ModelError, match="cannot be classified: out of paper"):
        check(classifier(ScriptedSession(script=fail)), folder, Golden(image="golden.jpg", label="x"))


def test_a_label_that_the_model_does_not_have_is_said_with_the_closest(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"golden_label: mine has no label `labl 1`; closest: `label 1`"):
        check(classifier(), folder, Golden(image="golden.jpg", label="labl 1"))
    with pytest.raises(ModelError, match=r"mine has no label `tulip`$"):
        check(classifier(), folder, Golden(image="golden.jpg", label="tulip"))


class Bright(ScriptedSession):
    """One whose scores are right in [0, 255] only: it sees `label 1` in what is bright to it."""

    def run(self, feed: Feed) -> Scores:
        super().run(feed)
        bright = float(np.mean(feed)) > 10
        return np.array([0.25, 0.75] if bright else [0.625, 0.375], np.float32)


def test_a_wrong_pixel_range_shows_in_what_others_would_give(folder: Path) -> None:
    spec = InputSpec(8, 8, 127.5, 127.5, "stretch", 1.0, "bilinear")
    mistaken = Classifier(Preprocessor(spec, 10_000), Bright(), TwoLabels(), top_k=1)
    with pytest.raises(GoldenMismatch) as raised:
        check(mistaken, folder, Golden(image="golden.jpg", label="label 1"))
    assert str(raised.value).endswith(
        "but the model answers `label 0` 0.62500 with pixel_range [-1, 1]; other ranges "
        "would give [0, 1] `label 0` 0.62500, [0, 255] `label 1` 0.75000"
    )


def test_a_label_may_be_any_of_its_names_and_hold_what_patterns_mean(folder: Path) -> None:
    labels = Labels([Label(0, "", "cat"), Label(1, "n1", "dog [small], hound")], 2)
    preprocessor = Preprocessor(InputSpec(8, 8, 0, 1, "stretch", 1.0, "bilinear"), 10_000)
    seen = Classifier(preprocessor, ScriptedSession(), labels, top_k=1)
    for label in ("dog [small]", "hound"):
        assert check(seen, folder, Golden(image="golden.jpg", label=label)) == 0.75
