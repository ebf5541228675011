"""The golden check: a known picture must give its known answer, or the model is not what it should be."""

from __future__ import annotations

import time
from pathlib import Path

from incv3d.classifier import Classifier
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Prediction
from incv3d.models.entry import Golden, ModelError
from incv3d.models.store import StoredModel


class GoldenMismatch(ModelError):
    """A model gave another answer than the known one."""


def check_golden(classifier: Classifier, model: StoredModel, golden: Golden | None) -> float | None:
    """Classify the model's golden picture, where it has one, and compare.

    :param golden: what is expected of it; None: it has none.
    :returns: the score that it got.
    :raises GoldenMismatch: with what was expected and what came.
    :raises ModelError: when the picture cannot be read.
    """
    if golden is None:
        return None
    picture = model.directory / golden.picture
    best = _classify(classifier, picture)
    score = "" if golden.score is None else f" {golden.score:.5f} (within {golden.tolerance:g})"
    right = golden.label in (best.label, best.synset)
    if right and (golden.score is None or abs(best.score - golden.score) <= golden.tolerance):
        return best.score
    raise GoldenMismatch(
        f"{model.name} is not the model it should be: {picture.name} must be `{golden.label}`{score}, "
        f"it is `{best.label}` {best.score:.5f}"
    )


def _classify(classifier: Classifier, picture: Path) -> Prediction:
    try:
        data = picture.read_bytes()
    except OSError as error:
        raise ModelError(f"{picture}: cannot be read: {error.strerror}") from None
    now = time.monotonic()
    frame = Frame("golden", data, None, received=now, captured=now, top_k=1)
    try:
        return classifier.classify(classifier.prepare(frame)).predictions[0]
    except ModelError:
        raise
    except Incv3dError as error:
        raise ModelError(f"{picture}: cannot be classified: {error}") from None
