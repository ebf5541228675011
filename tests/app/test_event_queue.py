"""Events and signals reach the one thread that waits for them."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from incv3d.app.event_queue import EventQueue


def test_events_come_in_their_order_and_nothing_comes_in_time() -> None:
    events: EventQueue[str] = EventQueue()
    events.put("a")
    events.put("b")
    assert [events.get(0), events.get(0), events.get(0.01)] == ["a", "b", None]
    events.close()


def test_an_event_from_another_thread_wakes_the_one_that_waits() -> None:
    events: EventQueue[str] = EventQueue()
    putter = threading.Timer(0, events.put, ["from afar"])
    putter.start()
    assert events.get(10) == "from afar"
    putter.join()
    events.close()


def test_two_signals_at_once_both_come_out_even_when_other_threads_are_interrupted() -> None:
    events: EventQueue[str] = EventQueue()
    release = threading.Event()
    bystanders = [threading.Thread(target=release.wait) for _ in range(4)]
    for thread in bystanders:
        thread.start()
    with events.signals(signal.SIGUSR1, signal.SIGUSR2):
        for _ in range(200):
            sender = threading.Thread(
                target=lambda: [os.kill(os.getpid(), n) for n in (signal.SIGUSR1, signal.SIGUSR2)]
            )
            sender.start()
            assert {events.get(10), events.get(10)} == {signal.SIGUSR1, signal.SIGUSR2}
            sender.join()
    release.set()
    for thread in bystanders:
        thread.join()
    events.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_behind_any_number_of_events_is_not_lost_and_comes_first(number: signal.Signals) -> None:
    events: EventQueue[int] = EventQueue()
    with events.signals(number):
        for each in range(100_000):
            events.put(each)
        os.kill(os.getpid(), number)
        assert events.get(10) is number
        assert events.get(10) == 0
    events.close()


def test_a_signal_that_comes_again_while_events_wait_is_not_lost() -> None:
    events: EventQueue[int] = EventQueue()
    with events.signals(signal.SIGUSR1):
        for round in range(1000):
            events.put(round)
            events.put(round)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert events.get(10) is signal.SIGUSR1
            assert events.get(10) == round // 2
    events.close()


def test_more_events_than_the_socket_holds_all_come_out() -> None:
    events: EventQueue[int] = EventQueue()
    for number in range(100_000):
        events.put(number)
    assert all(events.get(0) == number for number in range(100_000))
    events.close()


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    events: EventQueue[str] = EventQueue()
    with events.signals(signal.SIGUSR1):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
    events.close()
