"""How the frames of a source are prepared and ranked: by the base model's labels, or by a head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from incv3d.frames import Prediction
from incv3d.models.labels import Label, Labels

if TYPE_CHECKING:
    from incv3d.engines.base import Features, Scores
    from incv3d.images.preprocess import Preprocessor
    from incv3d.models.taught.head import Head


class LabelSet(Protocol):
    """The labels that predictions can have. Implemented by :class:`incv3d.models.labels.Labels`."""

    def top_k(self, scores: Scores, k: int) -> tuple[Prediction, ...]:
        """Return the `k` best predictions, best first."""

    def matching(self, pattern: str) -> tuple[int, ...]:
        """Return the indices of the outputs that match `pattern`, a name or a shell pattern."""

    def closest(self, pattern: str) -> list[str]:
        """Return the names whose spelling is closest to `pattern`."""


@dataclass(frozen=True, slots=True)
class NumberedHead:
    """A head, and the index of each of its classes and of ``unknown`` among all labels of the daemon."""

    head: Head
    indices: tuple[int, ...]

    def rank(self, features: Features, k: int) -> tuple[Prediction, ...]:
        """Return the `k` best predictions, best first.

        :raises ModelError: the features are not those that the head was taught on.
        """
        ranked = self.head.rank(features, k)
        return tuple(Prediction(self.indices[each.index], "", each.label, each.score) for each in ranked)


@dataclass(frozen=True, slots=True)
class Variant:
    """How the frames of a source are prepared and ranked."""

    preprocessor: Preprocessor
    head: NumberedHead | None = None
    """None: the base model's labels are the answer."""
    model: str = ""
    """The name of the model, for answers; empty: that of the daemon."""


@dataclass(frozen=True, slots=True)
class Variants:
    """The variants of a daemon. All share one base model."""

    default: Variant
    labels: LabelSet
    """All labels that predictions can have. Equal names have one index."""
    by_source: Mapping[str, Variant] = field(default_factory=dict)
    """The variants of regions, ``CAMERA.REGION``."""

    def of(self, source: str) -> Variant:
        """Return the variant for frames of `source`."""
        return self.by_source.get(source, self.default)


def number_heads(heads: Iterable[Head], base: Labels | None) -> tuple[Labels, list[NumberedHead]]:
    """Give the classes of `heads` their indices, in order, and ``unknown`` the last.

    :param base: the base model's labels, which keep their indices; None: no source is answered with them.
    :returns: all labels, and the heads with their indices.
    """
    from incv3d.models.taught.head import UNKNOWN

    heads = list(heads)
    labels = [base[index] for index in range(len(base))] if base else []
    known = {label.name: label.index for label in reversed(labels)}
    names = [*(name for head in heads for name in head.classes), UNKNOWN] if heads else []
    for name in names:
        if name not in known:
            known[name] = len(labels)
            labels.append(Label(known[name], "", name))
    numbered = [NumberedHead(head, tuple(known[name] for name in (*head.classes, UNKNOWN))) for head in heads]
    return Labels(labels, len(labels)), numbered
