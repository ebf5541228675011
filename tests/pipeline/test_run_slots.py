"""Who may run beside whom."""

from __future__ import annotations

import threading

import pytest

from incv3d.pipeline.run_slots import RunSlots

SOON_S = 10


class Runner:
    """A thread that waits for its turn and has it until it is let go."""

    def __init__(self, slots: RunSlots, most: int) -> None:
        self.has_turn = threading.Event()
        self._let_go = threading.Event()
        self._slots = slots
        self._most = most
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._slots.acquire(self._most):
            self.has_turn.set()
            assert self._let_go.wait(SOON_S), "nobody let it go"

    def runs(self) -> bool:
        """Whether it gets its turn."""
        return self.has_turn.wait(SOON_S)

    def waits(self) -> bool:
        """Whether it has none yet, a moment later."""
        return not self.has_turn.wait(0.05)

    def end(self) -> None:
        self._let_go.set()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


def test_as_many_run_at_once_as_they_bear() -> None:
    slots = RunSlots()
    first, second, third = (Runner(slots, most=2) for _ in range(3))
    running = [each for each in (first, second, third) if not each.waits()]
    assert len(running) == 2
    running[0].end()
    assert all(each.runs() for each in (first, second, third))
    for each in (first, second, third):
        each.end()


def test_all_that_bear_each_other_run_at_once_when_one_that_was_alone_ends() -> None:
    for _ in range(10):
        slots = RunSlots()
        alone = Runner(slots, most=1)
        assert alone.runs()
        others = [Runner(slots, most=8) for _ in range(8)]
        alone.end()
        assert all(each.runs() for each in others)
        for each in others:
            each.end()


def test_who_is_to_be_alone_waits_for_the_others_and_they_for_it() -> None:
    slots = RunSlots()
    before = Runner(slots, most=2)
    assert before.runs()
    alone = Runner(slots, most=1)
    assert alone.waits()
    before.end()
    assert alone.runs()
    after = Runner(slots, most=2)
    assert after.waits()
    alone.end()
    assert after.runs()
    after.end()


def test_nobody_who_came_later_goes_before_one_who_is_to_be_alone() -> None:
    slots = RunSlots()
    before = Runner(slots, most=2)
    assert before.runs()
    alone = Runner(slots, most=1)
    assert alone.waits()
    later = Runner(slots, most=2)
    assert later.waits()
    before.end()
    assert alone.runs() and later.waits()
    alone.end()
    assert later.runs()
    later.end()


def test_a_turn_ends_with_an_exception_too() -> None:
    slots = RunSlots()
    with pytest.raises(ZeroDivisionError), slots.acquire(1):
        raise ZeroDivisionError
    next_one = Runner(slots, most=1)
    assert next_one.runs()
    next_one.end()
