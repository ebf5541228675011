"""Which events meet which rules."""

from __future__ import annotations

from datetime import datetime

import pytest

from incv3d.clock import timestamp_ms
from incv3d.config.notify import Rule
from incv3d.notify.rules import Memory, RuleBook
from incv3d.protocol.events import EventMessage

DAY_S = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


MONDAY = at("2026-11-30T08:00")


def met(book: RuleBook, at_s: float, label: str = "fox", happening: str = "entered", **more) -> list[str]:
    given = {"source": "camera", "synset": "n1", "score": 0.8, "frames": 3, **more}
    return book.met_by(EventMessage(v=1, event=happening, label=label, at=timestamp_ms(at_s), **given), at_s)


def book(**rule: object) -> RuleBook:
    return RuleBook({"it": Rule(**rule)}, Memory())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "event", "is_met"),
    [
        ({}, {}, True),
        ({}, {"happening": "left"}, False),
        ({"when": "left"}, {"happening": "left", "best": 0.9}, True),
        ({"label": "FOX"}, {}, True),
        ({"label": ["cat", "n1"]}, {}, True),
        ({"label": "cat"}, {}, False),
        ({"label": "unknown"}, {"label": "unknown"}, True),
        ({"source": "camera"}, {"source": "camera.left"}, True),
        ({"source": "camera.left"}, {"source": "camera.right"}, False),
        ({"source": "cam"}, {}, False),
        ({"min_score": 0.8}, {}, True),
        ({"min_score": 0.81}, {}, False),
        ({"between": "07:00-19:00"}, {}, True),
        ({"between": "09:00-19:00"}, {}, False),
        ({"between": "22:00-09:00"}, {}, True),
    ],
)
def test_a_rule_is_met_if_all_that_it_names_is_true(
    rule: dict[str, object], event: dict[str, object], is_met: bool
) -> None:
    assert met(book(**rule), MONDAY, **event) == (["it"] if is_met else [])


def test_the_first_of_a_day_is_told_of_once_a_day_and_label() -> None:
    rules = book(first="day")
    told = [bool(met(rules, MONDAY + hours * 3600)) for hours in (0, 1, 15, 17, 23, 24)]
    assert told == [True, False, False, True, False, False]
    assert met(rules, MONDAY + 24 * 3600, "cat")


def test_the_first_of_a_day_within_its_hours_is_not_lost_to_one_outside_of_them() -> None:
    rules = book(first="day", between="07:00-19:00")
    told = [bool(met(rules, at(f"2026-12-01T{clock}"))) for clock in ("05:00", "07:30", "08:00", "20:00")]
    assert told == [False, True, False, False]


def test_the_first_ever_is_told_of_once_also_after_a_restart() -> None:
    rules = book(first="ever")
    assert met(rules, MONDAY) and not met(rules, MONDAY + 400 * DAY_S)
    again = RuleBook({"it": Rule(first="ever")}, rules.memory)
    assert not met(again, MONDAY + 800 * DAY_S)


def test_a_label_that_was_not_seen_for_days_is_told_of() -> None:
    rules = book(not_seen_days=3)
    told = [bool(met(rules, MONDAY + days * DAY_S)) for days in (0, 2, 4.5, 7.6)]
    assert told == [True, False, False, True]
    met(rules, MONDAY + 9 * DAY_S, happening="left")  # it was there for so long
    assert not met(rules, MONDAY + 11 * DAY_S)


def test_a_rule_cools_down_and_a_clock_that_is_put_back_does_not_silence_it() -> None:
    rules = book(cooldown_s=600)
    told = [bool(met(rules, MONDAY + seconds)) for seconds in (0, 599, 600, 700)]
    assert told == [True, False, True, False]
    assert met(rules, MONDAY - DAY_S)
