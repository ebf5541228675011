"""The section `notify`: who is told of what."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from incv3d.config.active import hours_of
from incv3d.config.address import Address
from incv3d.config.checks import FilePath
from incv3d.config.section import Section

RuleValue = bool | int | float | str | list[str]
KINDS = {
    "label": "a label or a list of labels",
    "source": "the name of a source or a region",
    "when": "`entered` or `left`",
    "min_score": "a score from 0 to 1",
    "first": "`day` or `ever`",
    "not_seen_days": "a number of days, at least 0",
    "cooldown_s": "a number of seconds, at least 0",
    "between": "hours of local time, such as 07:00-19:00",
    "image": "true or false",
}
"""The keys of a rule, and what each must be."""


class Rule(Section, frozen=True, kw_only=True):
    """When a notification is sent: all that is given must be true."""

    label: str | list[str] = []
    source: str = ""
    when: Literal["entered", "left"] = "entered"
    min_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    first: Literal["", "day", "ever"] = ""
    not_seen_days: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    cooldown_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    between: str = ""
    image: bool = True

    @property
    def labels(self) -> list[str]:
        """The labels that it is about; empty: all that are watched."""
        return [self.label] if isinstance(self.label, str) else self.label


class NotifySection(Section, frozen=True, kw_only=True):
    """Where notifications go, and the rules by which they are sent."""

    urls_file: FilePath = ""
    rules: dict[str, dict[str, RuleValue]] = {}

    def __post_init__(self) -> None:
        for name, given in self.rules.items():
            _read_rule(name, given)
        if self.urls_file and not self.rules:
            raise ValueError("urls_file: no rule says when to send; add some to `rules`")
        if self.rules and not self.urls_file:
            raise ValueError("rules: where to send is missing; set `urls_file`")

    @property
    def read_rules(self) -> dict[str, Rule]:
        """The rules, by name."""
        return {name: _read_rule(name, given) for name, given in self.rules.items()}


def _read_rule(name: str, given: dict[str, RuleValue]) -> Rule:
    """Return a rule.

    :raises ValueError: it is not one.
    """
    place = f"rules.{Address(name)}"
    if unknown := next((key for key in given if key not in KINDS), ""):
        raise ValueError(f"{place}: `{Address(unknown)}` is unknown; a rule has {', '.join(KINDS)}")
    for key, value in given.items():
        try:
            msgspec.convert({key: value}, Rule)
        except msgspec.ValidationError:
            raise ValueError(f"{place}.{key}: must be {KINDS[key]}") from None
    rule = msgspec.convert(given, Rule)
    if rule.between and hours_of(rule.between) is None:
        raise ValueError(f"{place}.between: must be {KINDS['between']}")
    return rule
