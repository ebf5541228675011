"""Which times of senders are believed, and what is said of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from incv3d.protocol.clocks import MOST_WARNINGS, PEERS_REMEMBERED, SenderClocks

HOUR_S = 3600.0
Age = Callable[..., float]


@pytest.fixture
def age(caplog: pytest.LogCaptureFixture) -> Age:
    """The age that is believed of a frame: by how far it is behind, when it is received, who sent it."""
    clocks = SenderClocks()

    def ask(behind_s: float, received: float = 0.0, peer: bytes = b"peer", where: str = "10.0.0.6") -> float:
        return clocks.age_s(peer, lambda: where, received, behind_s)

    return ask


def test_the_age_of_a_right_clock_is_believed_to_the_millisecond(age: Age) -> None:
    assert age(0.0) == 0.0
    for behind_s in (0.25, 0.9, 5.0, 59.0):
        assert age(behind_s, 1.0) == behind_s


def test_a_frame_that_is_old_when_its_sender_connects_is_known_to_be(age: Age) -> None:
    assert age(30.0) == pytest.approx(29.0)
    assert age(0.01, 1.0) == 0.0, "the first one up to date shows that the clock is right"
    assert age(30.0, 2.0) == pytest.approx(29.99)


@pytest.mark.parametrize("behind_s", [0.4, 0.99])
def test_a_clock_that_is_up_to_a_second_behind_is_allowed_for(age: Age, behind_s: float) -> None:
    assert [age(behind_s + each, each) for each in (0.003, 0.002, 0.005)] == pytest.approx([0, 0, 0.003])
    assert age(behind_s + 3.0, 1.0) == pytest.approx(2.998)


def test_a_clock_that_is_an_hour_behind_is_never_believed(age: Age, caplog) -> None:
    # Nor when the sender has been known for longer than its clock is behind.
    assert {age(HOUR_S + 0.02, received) for received in (0.0, 1.0, HOUR_S * 5)} == {0.0}
    assert [record.getMessage() for record in caplog.records] == [
        "a sender at 10.0.0.6: captured_at lies 60 minutes back; check its clock. "
        "Its ttl_ms and age_ms count from receipt"
    ]


def test_a_clock_that_has_been_set_is_believed_from_then_on(age: Age) -> None:
    assert age(HOUR_S) == 0.0
    assert age(0.01, 10.0) == 0.0
    assert age(2.0, 11.0) == pytest.approx(1.99)


def test_a_frame_may_be_as_old_as_what_is_known_of_its_sender_and_a_minute(age: Age, caplog) -> None:
    age(0.0)
    assert age(100.0, 50.0) == 100.0
    assert age(111.0, 50.0) == 0.0
    assert "111.0 s back" in caplog.text


def test_a_clock_that_is_ahead_is_not_believed_and_is_said_once(age: Age, caplog) -> None:
    assert [age(-behind_s) for behind_s in (0.02, HOUR_S * 100, 5.0)] == [0.0, 0.0, 0.0]
    assert caplog.text.count("captured_at") == 1 and "4 days ahead" in caplog.text


def test_clocks_that_ntp_has_set_are_not_worth_a_word(age: Age, caplog) -> None:
    assert age(-0.09) == 0.0 and not caplog.records


def test_each_sender_is_judged_by_itself(age: Age, caplog) -> None:
    assert age(HOUR_S, peer=b"one") == 0.0
    assert age(0.0, 5.0, peer=b"two", where="10.0.0.7") == 0.0 and age(4.0, 5.0, peer=b"two") == 4.0
    assert age(-9.0, 6.0, peer=b"two", where="10.0.0.7") == 0.0
    assert ["10.0.0.6" in caplog.text, "10.0.0.7: captured_at lies 9.0 s ahead" in caplog.text] == [
        True,
        True,
    ]


def test_a_sender_that_connects_for_each_frame_is_said_once(age: Age, caplog) -> None:
    for number in range(10):
        age(HOUR_S + number, peer=b"%d" % number)
    assert len(caplog.records) == 1


def test_a_flood_of_senders_fills_neither_memory_nor_log(caplog) -> None:
    clocks = SenderClocks()
    with caplog.at_level(logging.WARNING):
        for number in range(3000):
            clocks.age_s(b"%d" % number, lambda number=number: f"host{number}", 0.0, HOUR_S)
    assert len(caplog.records) == MOST_WARNINGS
    assert len(clocks._senders) == PEERS_REMEMBERED
