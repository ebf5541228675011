"""From the labels that the configuration names to the outputs of the network that are watched."""

from __future__ import annotations

from collections.abc import Iterable

from incv3d.classifier import Ranking
from incv3d.config import ConfigError, EventsSection
from incv3d.sightings import Threshold

LEAVE_FRACTION = 0.6
"""Of the score at which a label enters: where it leaves, unless the configuration says."""


def watched_outputs(section: EventsSection, labels: Ranking, model: str) -> dict[int, Threshold]:
    """The threshold of every output that makes events.

    Of several entries of ``labels`` that name an output, one without wildcards goes over a pattern, and among
    equals the first.

    :param model: what to call it in errors.
    :raises ConfigError: one of the names is none of the model's: nobody would notice that its event never
        comes. Or nothing is left to be watched.
    """
    watched = _outputs("allow", section.allow, labels, model)
    watched |= _outputs("labels", section.labels, labels, model)
    watched -= _outputs("deny", section.deny, labels, model)
    if not watched:
        raise ConfigError("events.deny: it leaves nothing of `allow` and `labels` to be watched")
    own: dict[int, Threshold] = {}
    for pattern in sorted(section.labels, key=_is_pattern):
        for index in labels.matching(pattern):
            own.setdefault(index, _threshold(section.labels[pattern]))
    return {index: own.get(index, _threshold(section.threshold)) for index in sorted(watched)}


def _outputs(key: str, patterns: Iterable[str], labels: Ranking, model: str) -> set[int]:
    found: set[int] = set()
    for pattern in patterns:
        matching = labels.matching(pattern)
        if not matching:
            close = ", ".join(f"`{name}`" for name in labels.closest(pattern))
            hint = f"; close to it are {close}" if close else ""
            listed = f"incv3d model show {model} --labels"
            raise ConfigError(f"events.{key}: {model} has no label `{pattern}`{hint} (all: {listed})")
        found.update(matching)
    return found


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _threshold(given: float | list[float]) -> Threshold:
    scores = given if isinstance(given, list) else [given]
    return Threshold(scores[0], scores[1] if len(scores) == 2 else scores[0] * LEAVE_FRACTION)
