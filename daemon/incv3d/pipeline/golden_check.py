"""Check that a model gives the known answer for a known image."""

from __future__ import annotations

import time
from pathlib import Path

from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Prediction
from incv3d.models.entry import Golden, ModelError
from incv3d.models.store import StoredModel
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.variants import Variant

USUAL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""The ranges to which networks usually map pixels 0 to 255."""


class GoldenMismatch(ModelError):
    """A model did not give the expected answer."""

    is_lasting = True


def check_golden(classifier: Classifier, model: StoredModel, golden: Golden | None) -> float | None:
    """Classify the model's golden image, if it has one, and compare the answer.

    :param golden: the expected answer; None: the model has no golden image.
    :returns: the score of the expected label.
    :raises GoldenMismatch: the answer differs; the message has both.
    :raises ModelError: the image cannot be read.
    """
    if golden is None:
        return None
    image = model.directory / golden.image
    best = _classify(classifier, image)
    meant = classifier.labels.matching(golden.label)
    if not meant:
        raise ModelError(f"golden_label: {_unknown(classifier, model, golden.label)}")
    score = "" if golden.score is None else f" {golden.score:.5f} (within {golden.tolerance:g})"
    if best.index in meant and (golden.score is None or abs(best.score - golden.score) <= golden.tolerance):
        return best.score
    raise GoldenMismatch(
        f"{model.name} failed the golden check: {image.name} should be `{golden.label}`{score}, "
        f"but the model answers `{best.label}` {best.score:.5f}{_in_other_ranges(classifier, image)}"
    )


def _unknown(classifier: Classifier, model: StoredModel, label: str) -> str:
    closest = ", ".join(f"`{name}`" for name in classifier.labels.closest(label))
    return f"{model.name} has no label `{label}`" + (f"; closest: {closest}" if closest else "")


def _in_other_ranges(classifier: Classifier, image: Path) -> str:
    """Return the answers with the other usual pixel ranges, for the message."""
    used = classifier.preprocessor.pixel_range
    if used is None:
        return ""
    found = []
    for low, high in USUAL_RANGES:
        if abs(low - used[0]) + abs(high - used[1]) > 0.02 * (high - low):
            best = _classify(classifier.in_range(low, high), image)
            found.append(f"[{low:g}, {high:g}] `{best.label}` {best.score:.5f}")
    others = ", ".join(found)
    return f" with pixel_range [{used[0]:.4g}, {used[1]:.4g}]; other ranges would give {others}"


def _classify(classifier: Classifier, image: Path) -> Prediction:
    try:
        data = image.read_bytes()
    except OSError as error:
        raise ModelError(f"{image}: cannot be read: {error.strerror}") from None
    return classify_golden(classifier, str(image), data)


def classify_golden(
    classifier: Classifier, where: str, data: bytes, variant: Variant | None = None
) -> Prediction:
    """Return the best prediction for an image with a known answer.

    :param where: the image's name, for errors.
    :param variant: how it is classified; None: by the base model.
    :raises ModelError: it cannot be classified.
    """
    now = time.monotonic()
    frame = Frame("golden", data, None, received=now, captured=now, top_k=1)
    try:
        return classifier.classify(classifier.prepare(frame, variant)).predictions[0]
    except ModelError:
        raise
    except Incv3dError as error:
        raise ModelError(f"{where}: cannot be classified: {error}") from None
