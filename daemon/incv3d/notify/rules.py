"""Decide which rules an event meets. No I/O; the caller passes the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from incv3d.config.active import hours_of
from incv3d.config.notify import Rule
from incv3d.protocol.events import EventMessage

DAY_S = 86_400.0


@dataclass(slots=True)
class Memory:
    """What the rules must know of the past, by rule, source and label."""

    seen_s: dict[str, float] = field(default_factory=dict)
    """When a label that the rule is about was last seen; in seconds since 1970."""
    sent_s: dict[str, float] = field(default_factory=dict)
    """When the rule was last met."""


class RuleBook:
    """The rules, and what they remember.

    :param memory: of the last run of the daemon.
    """

    def __init__(self, rules: Mapping[str, Rule], memory: Memory) -> None:
        self._rules = rules
        self.memory = memory

    def met_by(self, event: EventMessage, at_s: float) -> list[str]:
        """Return the names of the rules that the event meets, and remember it.

        :param at_s: when it happened, in seconds since 1970.
        """
        return [name for name, rule in self._rules.items() if self._is_met(name, rule, event, at_s)]

    def _is_met(self, name: str, rule: Rule, event: EventMessage, at_s: float) -> bool:
        if not _is_about(rule, event):
            return False
        key = "\t".join((name, event.source, event.label))
        seen_s, sent_s = self.memory.seen_s.get(key), self.memory.sent_s.get(key)
        self.memory.seen_s[key] = at_s
        score = event.score if event.best is None else event.best
        if event.event != rule.when or score < rule.min_score or not _is_within(rule.between, at_s):
            return False
        if rule.first == "ever" and sent_s is not None:
            return False
        if rule.first == "day" and sent_s is not None and _day(sent_s) == _day(at_s):
            return False
        if rule.not_seen_days and seen_s is not None and at_s - seen_s < rule.not_seen_days * DAY_S:
            return False
        # A clock that is put back must not silence a rule.
        if rule.cooldown_s and sent_s is not None and 0 <= at_s - sent_s < rule.cooldown_s:
            return False
        self.memory.sent_s[key] = at_s
        return True


def _is_about(rule: Rule, event: EventMessage) -> bool:
    wanted = [each.casefold() for each in rule.labels]
    is_label = not wanted or event.label.casefold() in wanted or event.synset in wanted
    return is_label and (rule.source in ("", event.source) or event.source.startswith(f"{rule.source}."))


def _is_within(hours: str, at_s: float) -> bool:
    found = hours_of(hours) if hours else None
    if found is None:
        return True
    begin, end = found
    local = datetime.fromtimestamp(at_s)
    minute = 60 * local.hour + local.minute
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _day(at_s: float) -> object:
    return datetime.fromtimestamp(at_s).date()
