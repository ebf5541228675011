"""From logits to probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.pipeline.classifier import Classifier, softmax

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")


def test_the_softmax_is_right_and_overflows_for_no_logits() -> None:
    logits = np.array([1, 2, 3], np.float32)
    np.testing.assert_allclose(softmax(logits), np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    np.testing.assert_allclose(softmax(logits + 1000), softmax(logits), rtol=1e-4)
    np.testing.assert_array_equal(softmax(np.array([-1e38, 3e38], np.float32)), [0, 1])
    assert softmax(logits).dtype == np.float32


def test_what_is_not_a_number_stays_none_without_a_warning() -> None:
    for damaged in (np.nan, np.inf):
        assert np.isnan(softmax(np.array([0, damaged], np.float32))).any()


@pytest.mark.parametrize(("logits", "best"), [(False, 0.75), (True, 0.622459)])
def test_logits_become_probabilities_and_probabilities_stay(logits: bool, best: float) -> None:
    classifier = Classifier(Preprocessor(SPEC, 10**6), ScriptedSession(), TwoLabels(), top_k=1, logits=logits)
    frame = Frame("test", jpeg(), None, received=0.0, captured=0.0)
    result = classifier.classify(classifier.prepare(frame))
    (prediction,) = result.predictions
    assert prediction.score == pytest.approx(best, abs=1e-6)
    assert result.frame is frame
