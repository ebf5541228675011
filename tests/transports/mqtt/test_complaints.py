"""A flood of bad messages costs a line a minute."""

from __future__ import annotations

import logging

import pytest

from incv3d.transports.mqtt.complaints import Complaints, shown


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_there_is_one_line_of_each_kind_a_minute_with_the_number_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    complaints = Complaints(60, clock)
    for number in range(500):
        complaints.warn("one", f"one {number}")
        complaints.warn("other", f"other {number}")
    assert [record.getMessage() for record in caplog.records] == ["mqtt: one 0", "mqtt: other 0"]
    clock.now += 59.9
    complaints.warn("one", "one 500")
    clock.now += 0.2
    complaints.warn("one", "one 501")
    assert caplog.records[-1].getMessage() == "mqtt: one 501 (500 more like it were not logged)"
    clock.now += 61
    complaints.warn("one", "one 502")
    assert caplog.records[-1].getMessage() == "mqtt: one 502"
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_an_error_of_ours_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Complaints().warn("kind", "it failed", ZeroDivisionError("why"))
    assert "ZeroDivisionError: why" in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", "a/b"),
        ("a\x1b[2J\nb", "a?[2J?b"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 99 + "…"),
        ("x" * 65_535, "x" * 99 + "…"),
    ],
)
def test_what_others_sent_is_cut_and_printable(text, expected) -> None:
    assert shown(text) == expected


def test_a_minute_after_a_line_the_next_is_written(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    complaints = Complaints(clock=clock)
    for now in (0.0, 59.9, 60.0, 119.9, 120.0):
        clock.now = now
        complaints.warn("one", f"at {now}")
    assert caplog.messages == [
        "mqtt: at 0.0",
        "mqtt: at 60.0 (1 more like it were not logged)",
        "mqtt: at 120.0 (1 more like it were not logged)",
    ]
