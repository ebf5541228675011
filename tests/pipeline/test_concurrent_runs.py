"""Run two requests at once, and camera frames alone."""

from __future__ import annotations

import threading

import pytest

from incv3d.engines.base import SessionError
from incv3d.frames import Refusal
from incv3d.pipeline.workers import FAILURES_IN_A_ROW
from scripted_pipeline import SOON_S


def test_closing_waits_for_the_run_of_each_thread(start_pipeline) -> None:
    for first, second in (("session", "session-2"), ("session-2", "session")):
        may_end = {first: threading.Event(), second: threading.Event()}

        def wait(number: int, may_end: dict[str, threading.Event] = may_end) -> None:
            assert may_end[threading.current_thread().name].wait(SOON_S)

        scripted = start_pipeline(script=wait, reentrant=True)
        scripted.send("a")
        scripted.send("b")
        assert scripted.session.wait_until_under_way(2)
        scripted.frame_queue.close()
        may_end[first].set()
        scripted.next()
        assert not scripted.drained.wait(0.05) and not scripted.session.closed and scripted.deaths.empty()
        may_end[second].set()
        scripted.next()
        assert scripted.drained.wait(SOON_S) and scripted.session.closed


def test_a_request_is_run_beside_another_one(start_pipeline) -> None:
    scripted = start_pipeline(held=True, reentrant=True)
    for name in "abcd":
        scripted.send(name)
    assert scripted.session.wait_until_under_way(2)
    assert not scripted.session.wait_until_under_way(3, timeout_s=0.05)
    scripted.session.release(4)
    assert sorted(str(scripted.next().id) for _ in range(4)) == list("abcd")


@pytest.mark.parametrize(("reentrant", "overlap"), [(False, True), (True, False)])
def test_requests_are_run_one_after_the_other_where_that_has_to_be(
    start_pipeline, reentrant, overlap
) -> None:
    scripted = start_pipeline(held=True, reentrant=reentrant, overlap=overlap)
    scripted.send("a")
    scripted.send("b")
    assert scripted.session.wait_until_under_way(1)
    assert not scripted.session.wait_until_under_way(2, timeout_s=0.05)
    scripted.session.release(2)
    assert [scripted.next().id, scripted.next().id] == ["a", "b"]


def test_a_cameras_frame_has_the_session_for_itself(start_pipeline) -> None:
    scripted = start_pipeline(held=True, reentrant=True)
    scripted.show(50)
    assert scripted.session.wait_until_under_way(1)
    scripted.send("later")
    scripted.send("later still")
    assert not scripted.session.wait_until_under_way(2, timeout_s=0.05)
    scripted.session.release()
    assert scripted.next().id == 50
    assert scripted.session.wait_until_under_way(2)
    scripted.show(51)
    scripted.session.release(3)
    assert {scripted.next().id for _ in range(3)} == {"later", "later still", 51}


def test_a_request_that_failed_and_one_beside_it_have_each_their_own_answer(start_pipeline) -> None:
    def fail_first(number: int) -> None:
        if number == 1:
            raise SessionError("once")

    scripted = start_pipeline(held=True, script=fail_first, reentrant=True)
    scripted.send("a")
    scripted.send("b")
    assert scripted.session.wait_until_under_way(2)
    scripted.session.release(2)
    results = {result.id: result.refusal for result in (scripted.next(), scripted.next())}
    assert list(results.values()).count(Refusal.INTERNAL) == 1 and results.keys() == {"a", "b"}


def test_closing_waits_for_both_runs_before_the_session_is_closed(start_pipeline) -> None:
    scripted = start_pipeline(held=True, reentrant=True)
    scripted.send("a")
    scripted.send("b")
    assert scripted.session.wait_until_under_way(2)
    scripted.frame_queue.close()
    scripted.session.release()
    scripted.next()
    assert not scripted.drained.is_set() and not scripted.session.closed
    scripted.session.release()
    scripted.next()
    assert scripted.drained.wait(SOON_S) and scripted.session.closed and scripted.deaths.empty()


@pytest.mark.parametrize("lasting", ["session", "session-2"])
def test_a_session_that_breaks_is_reported_whichever_thread_saw_it(start_pipeline, lasting) -> None:
    may_end = threading.Event()

    def break_down(number: int) -> None:
        if threading.current_thread().name != lasting:
            raise SessionError("broken")
        assert may_end.wait(SOON_S)

    scripted = start_pipeline(script=break_down, reentrant=True)
    for number in range(FAILURES_IN_A_ROW + 1):
        scripted.send(str(number))
    for _ in range(FAILURES_IN_A_ROW):
        assert scripted.next().refusal is Refusal.INTERNAL
    may_end.set()
    thread, error = scripted.deaths.get(timeout=SOON_S)
    assert thread == "session" and isinstance(error, SessionError) and scripted.session.closed


def test_a_session_that_breaks_is_not_closed_under_a_run_that_still_lasts(start_pipeline) -> None:
    may_end = threading.Event()

    def break_down(number: int) -> None:
        if number > 1:
            raise SessionError("broken")
        assert may_end.wait(SOON_S)

    scripted = start_pipeline(script=break_down, reentrant=True)
    scripted.send("lasts")
    assert scripted.session.wait_until_under_way(1)
    for number in range(FAILURES_IN_A_ROW):
        scripted.send(str(number))
        assert scripted.next().refusal is Refusal.INTERNAL
    may_end.set()
    assert scripted.next().id == "lasts"
    thread, error = scripted.deaths.get(timeout=SOON_S)
    assert thread == "session" and isinstance(error, SessionError) and scripted.session.closed
