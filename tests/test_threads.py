"""Threads that report their death, and pipes that wake them."""

from __future__ import annotations

import queue
import select
import threading

from incv3d.threads import WakePipe, start_thread


def test_a_thread_that_dies_reports_its_name_and_error() -> None:
    deaths: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
    error = SystemExit("even this")

    def fail() -> None:
        raise error

    thread = start_thread("worker", fail, lambda name, error: deaths.put((name, error)))
    assert deaths.get(timeout=10) == ("worker", error)
    assert thread.daemon and thread.name == "worker"


def test_a_thread_that_ends_reports_nothing() -> None:
    deaths: list[str] = []
    done = threading.Event()
    start_thread("worker", done.set, lambda name, error: deaths.append(name)).join(10)
    assert done.is_set() and not deaths


def test_a_pipe_wakes_once_for_many_calls_and_takes_any_number_of_them() -> None:
    pipe = WakePipe()
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    assert poller.poll(0) == []
    for _ in range(100_000):  # more than a pipe holds
        pipe.wake()
    assert poller.poll(0) == [(pipe.fileno(), select.POLLIN)]
    while poller.poll(0):
        pipe.clear()
    pipe.wake()
    assert poller.poll(0)
    pipe.close()
    pipe.wake()  # its descriptor may belong to another file by now
