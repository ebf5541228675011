"""From logits to probabilities."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from doubles import ScriptedSession, TwoLabels, jpeg
from heads import axes, head_of
from incv3d.engines.base import Pixels, Scores
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.models.taught.head import Floats
from incv3d.pipeline.classifier import Classifier, softmax
from incv3d.pipeline.variants import Variant, Variants, number_heads

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


class Features(ScriptedSession):
    """A Session with two features that say the second class."""

    def run_with_features(self, pixels: Pixels) -> tuple[Scores, Floats]:
        return self.run(pixels), axes(2, 16)[1]


def test_a_frame_is_ranked_as_it_was_prepared_whatever_is_in_force_by_then() -> None:
    classifier = Classifier(Preprocessor(SPEC, 10**6), Features(), TwoLabels(), top_k=1)
    frame = Frame("test", jpeg(), None, received=0.0, captured=0.0)
    before = classifier.prepare(frame)
    labels, (head,) = number_heads([head_of(("empty", "full"), axes())], None)
    classifier.variants = Variants(Variant(classifier.preprocessor, head, "mine"), labels)
    after = classifier.prepare(frame)
    (old,), (new,) = (classifier.classify(each).predictions for each in (before, after))
    assert (old.label, new.label) == ("label 1", "full")
    assert classifier.classify(after).model == "mine" and classifier.labels is labels


def test_a_session_that_runs_one_at_a_time_is_never_run_by_two_threads() -> None:
    session = ScriptedSession(held=True)
    classifier = Classifier(Preprocessor(SPEC, 10**6), session, TwoLabels(), top_k=1)
    prepared = classifier.prepare(Frame("test", jpeg(), None, received=0.0, captured=0.0))
    threads = [threading.Thread(target=classifier.classify, args=(prepared,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert session.wait_until_under_way(1) and not session.wait_until_under_way(2, timeout_s=0.2)
    session.release(2)
    for thread in threads:
        thread.join(20)
    assert session.runs == 2
