"""The golden check: a known picture must give its known answer, or the model is not what it should be."""

from __future__ import annotations

import time
from pathlib import Path

from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Prediction
from incv3d.models.entry import Golden, ModelError
from incv3d.models.store import StoredModel
from incv3d.pipeline.classifier import Classifier

USUAL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""What people's networks take a pixel of 0 to 255 as."""


class GoldenMismatch(ModelError):
    """A model gave another answer than the known one."""

    is_lasting = True


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
    meant = classifier.labels.matching(golden.label)
    if not meant:
        raise ModelError(f"golden_label: {_unknown(classifier, model, golden.label)}")
    score = "" if golden.score is None else f" {golden.score:.5f} (within {golden.tolerance:g})"
    if best.index in meant and (golden.score is None or abs(best.score - golden.score) <= golden.tolerance):
        return best.score
    raise GoldenMismatch(
        f"{model.name} is not the model it should be: {picture.name} must be `{golden.label}`{score}, "
        f"it is `{best.label}` {best.score:.5f}{_in_other_ranges(classifier, picture)}"
    )


def _unknown(classifier: Classifier, model: StoredModel, label: str) -> str:
    closest = ", ".join(f"`{name}`" for name in classifier.labels.closest(label))
    return f"{model.name} has no label `{label}`" + (f"; the closest: {closest}" if closest else "")


def _in_other_ranges(classifier: Classifier, picture: Path) -> str:
    """What the picture would be if its pixels were fed in another of the usual ranges."""
    used = classifier.preprocessor.pixel_range
    if used is None:
        return ""
    found = []
    for low, high in USUAL_RANGES:
        if abs(low - used[0]) + abs(high - used[1]) > 0.02 * (high - low):
            best = _classify(classifier.in_range(low, high), picture)
            found.append(f"[{low:g}, {high:g}] `{best.label}` {best.score:.5f}")
    return f" with pixel_range [{used[0]:.4g}, {used[1]:.4g}]; it would be with {', with '.join(found)}"


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
