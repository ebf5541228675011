"""How many `busy` answers a daemon of a fleet sends, and when."""

from __future__ import annotations

from incv3d.transports.mqtt.busy_answers import (
    ANSWERS_PER_S,
    MOST_WAITING,
    MOST_WAITING_BYTES,
    ROOM_TO_REFUSE,
    BusyAnswers,
)

BOOT_S = 0.0


def filled(count: int) -> BusyAnswers:
    answers = BusyAnswers()
    assert all(answers.put(number, 100) for number in range(count))
    return answers


def test_the_limits_are_those_that_are_promised() -> None:
    limits = (ROOM_TO_REFUSE, ANSWERS_PER_S, MOST_WAITING, MOST_WAITING_BYTES)
    assert limits == (16, 50.0, 1024, 1_048_576)
    assert filled(1).wait_s() == 0, "the first of all is due"


def test_a_few_are_sent_at_once_and_the_others_one_after_another() -> None:
    answers = filled(ROOM_TO_REFUSE + 2)
    assert answers.take(BOOT_S, 0) == list(range(ROOM_TO_REFUSE))
    assert len(answers) == 2
    assert answers.wait_s() == 1 / ANSWERS_PER_S
    assert answers.take(BOOT_S + 0.5 / ANSWERS_PER_S, 0) == []
    wait_s = answers.wait_s()
    assert wait_s and abs(wait_s - 0.5 / ANSWERS_PER_S) < 1e-9
    assert answers.take(BOOT_S + 1.01 / ANSWERS_PER_S, 0) == [ROOM_TO_REFUSE]
    assert answers.take(BOOT_S + 2.02 / ANSWERS_PER_S, 0) == [ROOM_TO_REFUSE + 1]
    assert answers.wait_s() is None


def test_each_result_lets_one_more_be_sent() -> None:
    answers = filled(ROOM_TO_REFUSE + 5)
    answers.take(BOOT_S, 7)
    assert len(answers.take(BOOT_S, 7)) == 0
    assert len(answers.take(BOOT_S, 10)) == 3


def test_no_more_than_a_few_are_sent_at_once_after_a_quiet_night() -> None:
    answers = filled(2 * ROOM_TO_REFUSE)
    answers.take(BOOT_S, 0)
    assert len(answers.take(BOOT_S + 36_000, 100_000)) == ROOM_TO_REFUSE


def test_the_number_and_the_memory_of_those_that_wait_are_limited() -> None:
    answers = filled(MOST_WAITING)
    assert not answers.put(MOST_WAITING, 100)
    large = BusyAnswers()
    assert large.put(0, MOST_WAITING_BYTES)
    assert not large.put(1, 1)
    assert large.take(BOOT_S, 0) == [0]
    assert large.put(1, 1), "what has been sent takes no memory"
