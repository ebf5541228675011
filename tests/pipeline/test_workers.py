"""Decode frames and run the Session: order, failures and shutdown."""

from __future__ import annotations

import threading

from incv3d.engines.base import BadFeed, SessionError
from incv3d.frames import Frame, Refusal
from incv3d.images.preprocess import ImageError
from incv3d.pipeline.workers import FAILURES_IN_A_ROW
from scripted_pipeline import SOON_S


def test_a_frame_that_takes_long_to_decode_holds_up_no_other(start_pipeline) -> None:
    scripted = start_pipeline()
    scripted.send("large")
    for number in range(20):
        scripted.send(f"small {number}")
    assert [scripted.next().id for _ in range(20)] == [f"small {number}" for number in range(20)]
    scripted.decoder.let_go.release()
    assert scripted.next().id == "large"


def test_a_large_frame_that_is_decoded_runs_before_what_comes_later(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    scripted.send("first")
    assert scripted.session.running.wait(SOON_S)
    scripted.send("large")
    scripted.decoder.let_go.release()
    while len(scripted.frame_queue):
        threading.Event().wait(0.001)
    for number in range(5):
        scripted.send(f"later {number}")
    scripted.session.release(7)
    order = [scripted.next().id for _ in range(7)]
    assert order.index("large") <= 2, order


def test_only_one_frame_is_taken_ahead_so_that_none_grows_old_decoded(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    scripted.send("runs")
    assert scripted.session.running.wait(SOON_S)
    for number in range(5):
        scripted.send(f"next {number}")
    while len(scripted.frame_queue) > 4:
        threading.Event().wait(0.001)
    assert not threading.Event().wait(0.05) and len(scripted.frame_queue) == 4
    scripted.session.release(6)
    assert [scripted.next().id for _ in range(6)] == ["runs", *(f"next {number}" for number in range(5))]


def test_a_frame_that_expires_while_it_waits_decoded_is_not_run(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    scripted.send("runs")
    assert scripted.session.running.wait(SOON_S)
    scripted.send("late", deadline=5.0)
    while len(scripted.frame_queue):
        threading.Event().wait(0.001)
    scripted.now = 6.0
    scripted.session.release(2)
    assert scripted.next().id == "runs"
    late = scripted.next()
    assert (late.id, late.refusal) == ("late", Refusal.EXPIRED) and "1000 ms before its turn" in late.detail
    assert scripted.session.runs == 1


def test_an_exception_while_decoding_costs_that_frame_alone(start_pipeline) -> None:
    def script(frame: Frame) -> None:
        if frame.id == "damaged":
            raise ImageError("no picture")
        if frame.id == "odd":
            raise ZeroDivisionError

    scripted = start_pipeline()
    scripted.decoder.script = script
    for name in ("damaged", "odd", "good"):
        scripted.send(name)
    results = [scripted.next() for _ in range(3)]
    assert [each.refusal for each in results] == [Refusal.BAD_IMAGE, Refusal.INTERNAL, None]
    assert scripted.deaths.empty()


def test_an_exception_at_every_frame_is_logged_once_until_one_is_good(start_pipeline, caplog) -> None:
    def script(frame: Frame) -> None:
        if frame.id != "good":
            raise ZeroDivisionError(frame.id)

    scripted = start_pipeline()
    scripted.decoder.script = script
    for name in ("odd", "odd", "odd", "other", "good", "other"):
        scripted.send(name)
        scripted.next()
    assert [record.message for record in caplog.records] == ["decoding a frame of zmq failed"] * 3


def test_a_feed_that_the_graph_refuses_is_a_bad_image_and_no_failure_of_the_session(start_pipeline) -> None:
    def refuse(number: int) -> None:
        raise BadFeed("damaged JPEG")

    scripted = start_pipeline(script=refuse)
    for number in range(FAILURES_IN_A_ROW + 1):
        scripted.send(str(number))
        assert scripted.next().refusal is Refusal.BAD_IMAGE
    assert scripted.pipeline.failures_in_a_row == 0 and scripted.deaths.empty()


def test_a_session_that_keeps_failing_is_reported_once_all_have_their_answer(start_pipeline) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    scripted = start_pipeline(script=fail)
    for number in range(FAILURES_IN_A_ROW):
        scripted.send(str(number))
        assert scripted.next().refusal is Refusal.INTERNAL
    thread, error = scripted.deaths.get(timeout=SOON_S)
    assert thread == "session" and "failed 5 times in a row" in str(error)
    assert scripted.session.closed


def test_a_good_run_forgives_the_failures_before_it(start_pipeline) -> None:
    def fail_but_now_and_then(number: int) -> None:
        if number % FAILURES_IN_A_ROW:
            raise SessionError("a passing fault")

    scripted = start_pipeline(script=fail_but_now_and_then)
    for number in range(1, 3 * FAILURES_IN_A_ROW + 1):
        scripted.send(str(number))
        assert scripted.next().ok == (number % FAILURES_IN_A_ROW == 0)
    assert scripted.pipeline.failures_in_a_row == 0
    assert not scripted.deaths.qsize() and not scripted.session.closed


def test_where_an_unknown_error_of_the_session_came_from_is_in_the_log(start_pipeline, caplog) -> None:
    def fail(number: int) -> None:
        raise SessionError("known") if number == 1 else ValueError("unknown")

    scripted = start_pipeline(script=fail)
    for name in "ab":
        scripted.send(name)
        assert scripted.next().refusal is Refusal.INTERNAL
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]
    assert [record.message for record in caplog.records] == [
        "the Session failed: known", "the Session failed: unknown"
    ]  # fmt: skip


def test_it_is_said_when_the_session_is_loaded(start_pipeline) -> None:
    assert start_pipeline().ready.wait(SOON_S)


def test_a_session_thread_that_dies_takes_the_others_and_the_session_along(start_pipeline) -> None:
    def die() -> None:
        if threading.current_thread().name == "session":
            raise ZeroDivisionError

    scripted = start_pipeline()
    scripted.deliver_script = die
    for number in range(1000):
        scripted.send(str(number))
        scripted.wait_until(lambda: not scripted.results.empty() or not scripted.deaths.empty())
        if not scripted.deaths.empty():
            break
        scripted.next()
    thread, error = scripted.deaths.get(timeout=SOON_S)
    assert thread == "session" and isinstance(error, ZeroDivisionError) and scripted.session.closed


def test_a_thread_that_ends_in_any_way_reports_its_death(start_pipeline) -> None:
    def leave(frame: Frame) -> None:
        raise SystemExit  # what threading itself would pass over in silence

    scripted = start_pipeline()
    scripted.decoder.script = leave
    scripted.send("last")
    thread, error = scripted.deaths.get(timeout=SOON_S)
    assert thread == "decode" and isinstance(error, SystemExit)


def test_what_each_thread_is_at_can_be_seen_from_outside(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    running, running_beside, decoding, decoding_large = scripted.pipeline.activities
    scripted.send("runs")
    scripted.send("large")
    assert scripted.session.running.wait(SOON_S)
    while not decoding_large.busy:
        threading.Event().wait(0.001)
    assert running.busy != running_beside.busy and not decoding.busy
    scripted.decoder.let_go.release()
    scripted.session.release(2)
    assert {scripted.next().id, scripted.next().id} == {"runs", "large"}


def test_closing_drains_what_was_taken_and_closes_the_session(start_pipeline) -> None:
    scripted = start_pipeline(held=True)
    scripted.send("runs")
    assert scripted.session.running.wait(SOON_S)
    scripted.send("decoded")
    while len(scripted.frame_queue):
        threading.Event().wait(0.001)
    scripted.frame_queue.close()
    assert not scripted.drained.is_set()
    scripted.session.release(2)
    assert [scripted.next().id for _ in range(2)] == ["runs", "decoded"]
    assert scripted.drained.wait(SOON_S) and scripted.session.closed


def test_closing_waits_for_a_large_frame_that_is_still_decoded(start_pipeline) -> None:
    scripted = start_pipeline()
    decoding_large = scripted.pipeline.activities[-1]
    scripted.send("large")
    scripted.wait_until(lambda: decoding_large.busy)
    scripted.frame_queue.close()
    assert not scripted.drained.wait(0.05)
    scripted.decoder.let_go.release()
    assert scripted.next().id == "large" and scripted.drained.wait(SOON_S)
