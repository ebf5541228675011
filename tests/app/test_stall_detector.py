"""A thread that hangs is found; one that works, waits or was stopped with its process is not."""

from __future__ import annotations

from incv3d.app.stall_detector import StallDetector
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
        stall = watch.look()
        if stall:
            found.append(stall.work.name)
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
