"""Replace the Session while frames are decoded and run."""

from __future__ import annotations

from incv3d.engines.base import SessionError
from incv3d.frames import Frame, Refusal
from incv3d.images.change_detector import ChangeDetector, ChangeLimits
from incv3d.images.preprocess import ImageError
from incv3d.pipeline.workers import FAILURES_IN_A_ROW
from scripted_pipeline import SOON_S


def test_a_new_session_is_not_blamed_for_the_failures_of_the_old_one(start_pipeline) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    scripted = start_pipeline(script=fail)
    for number in range(FAILURES_IN_A_ROW - 1):
        scripted.send(str(number))
        assert scripted.next().refusal is Refusal.INTERNAL
    scripted.replace(script=lambda number: fail(number) if number < FAILURES_IN_A_ROW else None)
    for number in range(1, FAILURES_IN_A_ROW + 1):
        scripted.send(str(number))
        assert scripted.next().ok == (number == FAILURES_IN_A_ROW)
    assert not scripted.deaths.qsize()


def test_a_new_session_that_keeps_failing_is_reported_as_soon_as_the_first_one(start_pipeline) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    scripted = start_pipeline()
    scripted.send("good")
    assert scripted.next().ok
    scripted.replace(fail)
    for number in range(FAILURES_IN_A_ROW):
        scripted.send(str(number))
        assert scripted.next().refusal is Refusal.INTERNAL
    thread, error = scripted.deaths.get(timeout=SOON_S)
    assert thread == "session" and "failed 5 times in a row" in str(error)


def test_a_new_session_takes_the_next_frame_and_the_old_one_ends_its_own(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    scripted.send("old")
    assert scripted.session.running.wait(SOON_S)
    new = scripted.replace()
    scripted.send("new")
    assert not scripted.session.closed, "closed while it runs"
    scripted.session.release()
    results = {result.id: result for result in (scripted.next(), scripted.next())}
    assert len(results["old"].predictions) == 2 and len(results["new"].predictions) == 1
    assert (scripted.session.runs, new.runs) == (1, 1)
    assert scripted.session.wait_until_closed(SOON_S), "the old Session's memory is never given back"
    assert not new.closed
    scripted.frame_queue.close()
    assert scripted.drained.wait(SOON_S) and scripted.session.closed and new.closed


def test_a_session_that_is_replaced_while_it_idles_is_closed(start_pipeline) -> None:
    scripted = start_pipeline()
    scripted.send("old")
    assert scripted.next().ok
    new = scripted.replace()
    assert scripted.session.wait_until_closed(SOON_S), "the old Session's memory is never given back"
    scripted.send("new")
    assert scripted.next().ok and new.runs == 1
    scripted.frame_queue.close()
    assert scripted.drained.wait(SOON_S) and new.closed


def test_frames_that_are_not_run_do_not_keep_a_replaced_session_open(start_pipeline) -> None:
    def script(frame: Frame) -> None:
        if frame.id == "damaged":
            raise ImageError("no picture")

    scripted = start_pipeline(changes=ChangeDetector({"camera": ChangeLimits(0.01, most_s=60)}))
    scripted.decoder.script = script
    scripted.now = 6.0
    scripted.send("late", deadline=5.0)
    assert scripted.next().refusal is Refusal.EXPIRED
    scripted.send("damaged")
    assert scripted.next().refusal is Refusal.BAD_IMAGE
    scripted.show(50)
    assert scripted.next().ok
    scripted.show(50)
    scripted.skipped.get(timeout=SOON_S)
    scripted.replace()
    assert scripted.session.wait_until_closed(SOON_S), "the old Session's memory is never given back"


def test_frames_that_come_while_sessions_are_replaced_are_all_classified(start_pipeline) -> None:
    scripted = start_pipeline()
    for number in range(50):
        scripted.send(str(number))
        scripted.replace()
    assert all(scripted.next().ok for _ in range(50))
    assert not scripted.deaths.qsize()


def test_a_session_that_is_replaced_during_two_runs_is_closed_after_the_second(start_pipeline) -> None:
    scripted = start_pipeline(held=True, reentrant=True)
    scripted.send("a")
    scripted.send("b")
    assert scripted.session.wait_until_under_way(2)
    new = scripted.replace()
    scripted.session.release()
    scripted.next()
    assert not scripted.session.closed
    scripted.session.release()
    scripted.next()
    scripted.send("c")
    assert scripted.next().id == "c" and (scripted.session.runs, new.runs) == (2, 1)
    scripted.frame_queue.close()
    assert scripted.drained.wait(SOON_S) and scripted.session.closed and scripted.deaths.empty()
