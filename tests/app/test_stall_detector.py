"""A thread that hangs is found; one that works, waits or was stopped with its process is not."""

from __future__ import annotations

import pytest

from incv3d.app.stall_detector import Stall, StallDetector
from incv3d.threads import Activity


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def looks(watch: StallDetector, clock: Clock, times: int, every_s: float = 1.0) -> list[str]:
    """The threads that were found to hang when looking so many times."""
    found = []
    for _ in range(times):
        clock.now += every_s
        stall = watch.check()
        if stall:
            found.append(stall.activity.name)
    return found


def test_a_piece_of_work_over_the_limit_is_a_stall() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([Activity("decode", "decoding"), work], 5.0, clock)
    with work:
        assert looks(watch, clock, 5) == []
        assert looks(watch, clock, 1) == ["session"]


def test_many_pieces_one_after_another_and_waiting_are_none() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([work], 5.0, clock)
    for _ in range(20):
        with work:
            assert looks(watch, clock, 1) == []
    assert looks(watch, clock, 20) == []


def test_a_process_that_was_stopped_has_no_stall_when_it_goes_on() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([work], 5.0, clock)
    with work:
        looks(watch, clock, 1)
        assert looks(watch, clock, 1, every_s=3600) == []


def test_without_a_limit_nothing_is_a_stall() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([work], 0.0, clock)
    with work:
        assert looks(watch, clock, 1000) == []


def test_an_exception_ends_the_piece_of_work() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([work], 5.0, clock)
    try:
        with work:
            raise ValueError
    except ValueError:
        assert looks(watch, clock, 20) == []


def test_pieces_of_work_are_counted() -> None:
    work = Activity("session", "running the Session")
    assert (work.name, work.what, work.begun, work.busy) == ("session", "running the Session", 0, False)
    for number in (1, 2):
        with work:
            assert work.busy and work.begun == number
    assert not work.busy and work.begun == 2


@pytest.mark.parametrize(
    ("limit_s", "interval_s"), [(0.0, 1.0), (2.0, 0.5), (4.0, 1.0), (6.0, 1.0), (8.0, 1.0)]
)
def test_a_thread_is_looked_at_four_times_before_its_limit_and_at_least_each_second(
    limit_s, interval_s
) -> None:
    assert StallDetector([], limit_s).interval_s == interval_s


def test_half_of_the_limit_is_a_worry_until_the_piece_of_work_ends() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([Activity("decode", "decoding"), work], 6.0, clock)
    worries = []
    with work:
        for _ in range(6):
            assert not looks(watch, clock, 1)
            worries.append(watch.warning and watch.warning.for_s)
    assert worries == [None, None, None, 3.0, 4.0, 5.0]
    assert watch.warning == Stall(work, 5.0)
    assert not looks(watch, clock, 1) and watch.warning is None


def test_a_look_that_comes_late_counts_as_two() -> None:
    clock, work = Clock(), Activity("session", "running the Session")
    watch = StallDetector([work], 3.0, clock)  # looks every 0.75 s
    with work:
        looks(watch, clock, 1)
        assert not looks(watch, clock, 1, every_s=3600) and watch.warning == Stall(work, 1.5)
        assert looks(watch, clock, 1, every_s=3600) and watch.warning == Stall(work, 3.0)
