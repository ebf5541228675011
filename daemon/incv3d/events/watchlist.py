"""Find the outputs of the network for the labels that the configuration watches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from incv3d.config.events import EventsSection
from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.events.presence import Threshold
from incv3d.frames import Prediction
from incv3d.pipeline.variants import LabelSet

LEAVE_FRACTION = 0.6
"""The score at which a label leaves, as a fraction of its enter score, unless configured."""


@dataclass(frozen=True, slots=True)
class Group:
    """Several labels under one name: a network that wavers between two finches is sure of a bird."""

    index: int
    """Negative, because it is not an output of the network."""
    name: str
    outputs: frozenset[int]


@dataclass(frozen=True, slots=True)
class Watchlist:
    """The watched labels and groups."""

    thresholds: Mapping[int, Threshold]
    """By output of the network, or by the index of a group."""
    groups: tuple[Group, ...] = ()

    def with_groups(self, predictions: tuple[Prediction, ...]) -> tuple[Prediction, ...]:
        """Return `predictions`, and one for each group, with the sum of the scores of its labels."""
        together = []
        for group in self.groups:
            score = math.fsum(each.score for each in predictions if each.index in group.outputs)
            if score:
                together.append(Prediction(group.index, "", group.name, round(score, 7)))
        return (*predictions, *together)


def read_watchlists(config: Config, labels: LabelSet, model: str) -> dict[str, Watchlist]:
    """Return what is watched of each source that has `events` of its own, by its name; ``""``: of all others.

    Sources of which nothing is watched are left out.

    :raises ConfigError: as :func:`read_watchlist`.
    """
    places = {each.name: place for place, each in config.all_sources.items()}
    return {
        source: read_watchlist(section, labels, model, f"{places[source]}.events" if source else "events")
        for source, section in config.all_events.items()
        if section.enabled
    }


def read_watchlist(section: EventsSection, labels: LabelSet, model: str, place: str = "events") -> Watchlist:
    """Return the configured labels and groups, each with its threshold.

    If several entries of ``labels`` match an output, a name overrides a pattern; otherwise the first wins.

    :param model: the model's name, for errors.
    :param place: the place of the section in the configuration, for errors.
    :raises ConfigError: the model has no such label, so its event could never occur; or no label is left.
    """

    def outputs(key: str, patterns: Iterable[str]) -> set[int]:
        return set().union(*(_outputs(f"{place}.{key}", pattern, labels, model) for pattern in patterns))

    denied = outputs("deny", section.deny)
    groups = tuple(
        Group(-number, name, frozenset(outputs(f"groups.{name}", patterns) - denied))
        for number, (name, patterns) in enumerate(section.groups.items(), 1)
    )
    by_name = {group.name: group.index for group in groups}
    watched = (outputs("allow", section.allow) - denied) | {group.index for group in groups if group.outputs}
    thresholds: dict[int, Threshold] = {}
    for name in sorted(section.labels, key=_is_pattern):
        named = {by_name[name]} if name in by_name else outputs("labels", [name])
        for index in named - denied:
            thresholds.setdefault(index, _threshold(section.labels[name]))
    for index in watched:
        thresholds.setdefault(index, _threshold(section.threshold))
    if not thresholds:
        raise ConfigError(f"{place}.deny: it excludes every watched label")
    return Watchlist(thresholds, groups)


def _outputs(key: str, pattern: str, labels: LabelSet, model: str) -> tuple[int, ...]:
    matching = labels.matching(pattern)
    if not matching:
        close = ", ".join(f"`{name}`" for name in labels.closest(pattern))
        hint = f"; similar labels: {close}" if close else ""
        listed = f"incv3d model show {model} --labels"
        raise ConfigError(f"{key}: {model} has no label `{pattern}`{hint} (all: {listed})")
    return matching


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _threshold(given: float | list[float]) -> Threshold:
    scores = given if isinstance(given, list) else [given]
    return Threshold(scores[0], scores[1] if len(scores) == 2 else scores[0] * LEAVE_FRACTION)
