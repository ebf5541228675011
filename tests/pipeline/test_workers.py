"""The worker threads, with a Session and a decoder that the test holds in its hand."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from doubles import ScriptedSession, TwoLabels
from incv3d.engines.base import BadFeed, ImageArray, Pixels, SessionError
from incv3d.frames import OWN, Frame, Refusal, Result
from incv3d.images.change_detector import ChangeDetector
from incv3d.images.preprocess import ImageError, Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import FAILURES_IN_A_ROW, Pipeline

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")
SOON_S = 10


class ScriptedPreprocessor(Preprocessor):
    """Decodes nothing; frames named `large …` wait until the test lets them go."""

    def __init__(self) -> None:
        super().__init__(SPEC, max_pixels=1)
        self.let_go = threading.Semaphore(0)
        self.script: Callable[[Frame], None] = lambda frame: None
        self.feed_script: Callable[[], None] = lambda: None

    def __call__(self, frame: Frame) -> Pixels:
        if is_large(frame):
            assert self.let_go.acquire(timeout=SOON_S), "nobody let the large frame go"
        self.script(frame)
        return np.zeros((1, 8, 8, 3), np.float32)

    def decode(self, frame: Frame) -> ImageArray:
        """A picture as bright as the number of its frame says."""
        self.script(frame)
        return np.full((8, 8, 3), frame.id, np.uint8)

    def feed(self, picture: ImageArray) -> Pixels:
        self.feed_script()
        return np.zeros((1, 8, 8, 3), np.float32)


def is_large(frame: Frame) -> bool:
    return str(frame.id).startswith("large")


@dataclass
class Line:
    """A pipeline at work, and what came out of it."""

    session: ScriptedSession
    decoder: ScriptedPreprocessor = field(default_factory=ScriptedPreprocessor)
    mailbox: FrameQueue = field(default_factory=lambda: FrameQueue(100, 10_000, 100, is_large))
    results: queue.Queue[Result] = field(default_factory=queue.Queue)
    deaths: queue.Queue[tuple[str, BaseException]] = field(default_factory=queue.Queue)
    ready: threading.Event = field(default_factory=threading.Event)
    drained: threading.Event = field(default_factory=threading.Event)
    skipped: queue.Queue[None] = field(default_factory=queue.Queue)
    changes: ChangeDetector | None = None
    overlap: bool = True
    now: float = 0.0
    deliver_script: Callable[[], None] = lambda: None

    def start(self) -> Line:
        classifier = Classifier(
            self.decoder, self.session, TwoLabels(), top_k=2, overlap=self.overlap, clock=lambda: self.now
        )
        self.pipeline = Pipeline(
            self.mailbox,
            lambda: classifier,
            self.deliver,
            self.ready.set,
            self.drained.set,
            lambda thread, error: self.deaths.put((thread, error)),
            clock=lambda: self.now,
            changes=self.changes,
            on_skipped=lambda frame: self.skipped.put(None),
        )
        self.pipeline.start()
        return self

    def deliver(self, result: Result) -> None:
        self.deliver_script()
        self.results.put(result)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        give_up = time.monotonic() + SOON_S
        while not is_so():
            assert time.monotonic() < give_up
            time.sleep(0.001)

    def replace(self, script: Callable[[int], None] = lambda number: None) -> ScriptedSession:
        """Put another Session in the place of this one; returns that."""
        new = ScriptedSession(script=script)
        self.pipeline.replace(Classifier(self.decoder, new, TwoLabels(), top_k=1))
        return new

    def send(self, name: str, deadline: float | None = None) -> None:
        frame = Frame("zmq", b"x", None, 0.0, 0.0, id=name, deadline=deadline, ticket=1)
        assert self.mailbox.offer(frame) is None

    def show(self, brightness: int, source: str = "camera") -> None:
        """A frame of a camera."""
        self.mailbox.replace(Frame(source, b"x", None, 0.0, 0.0, id=brightness))

    def next(self) -> Result:
        return self.results.get(timeout=SOON_S)


@pytest.fixture
def line() -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(
        held: bool = False,
        script: Callable[[int], None] = lambda number: None,
        changes: ChangeDetector | None = None,
        reentrant: bool = False,
        overlap: bool = True,
    ) -> Line:
        lines.append(Line(ScriptedSession(held, script, reentrant), changes=changes, overlap=overlap))
        return lines[-1].start()

    yield make
    for each in lines:
        each.mailbox.close()
        each.session.release(1000)
        each.decoder.let_go.release(1000)


def test_a_frame_that_takes_long_to_decode_holds_up_no_other(line) -> None:
    works = line()
    works.send("large")
    for number in range(20):
        works.send(f"small {number}")
    assert [works.next().id for _ in range(20)] == [f"small {number}" for number in range(20)]
    works.decoder.let_go.release()
    assert works.next().id == "large"


def test_a_large_frame_that_is_decoded_runs_before_what_comes_later(line) -> None:
    works = line(held=True)
    works.send("first")
    assert works.session.running.wait(SOON_S)
    works.send("large")
    works.decoder.let_go.release()
    while len(works.mailbox):
        threading.Event().wait(0.001)
    for number in range(5):
        works.send(f"later {number}")
    works.session.release(7)
    order = [works.next().id for _ in range(7)]
    assert order.index("large") <= 2, order


def test_only_one_frame_is_taken_ahead_so_that_none_grows_old_decoded(line) -> None:
    works = line(held=True)
    works.send("runs")
    assert works.session.running.wait(SOON_S)
    for number in range(5):
        works.send(f"next {number}")
    while len(works.mailbox) > 4:
        threading.Event().wait(0.001)
    assert not threading.Event().wait(0.05) and len(works.mailbox) == 4
    works.session.release(6)
    assert [works.next().id for _ in range(6)] == ["runs", *(f"next {number}" for number in range(5))]


def test_a_frame_that_expires_while_it_waits_decoded_is_not_run(line) -> None:
    works = line(held=True)
    works.send("runs")
    assert works.session.running.wait(SOON_S)
    works.send("late", deadline=5.0)
    while len(works.mailbox):
        threading.Event().wait(0.001)
    works.now = 6.0
    works.session.release(2)
    assert works.next().id == "runs"
    late = works.next()
    assert (late.id, late.refusal) == ("late", Refusal.EXPIRED) and "1000 ms before its turn" in late.detail
    assert works.session.runs == 1


def test_an_exception_while_decoding_costs_that_frame_alone(line) -> None:
    def script(frame: Frame) -> None:
        if frame.id == "damaged":
            raise ImageError("no picture")
        if frame.id == "odd":
            raise ZeroDivisionError

    works = line()
    works.decoder.script = script
    for name in ("damaged", "odd", "good"):
        works.send(name)
    results = [works.next() for _ in range(3)]
    assert [each.refusal for each in results] == [Refusal.BAD_IMAGE, Refusal.INTERNAL, None]
    assert works.deaths.empty()


def test_an_exception_at_every_frame_is_logged_once_until_one_is_good(line, caplog) -> None:
    def script(frame: Frame) -> None:
        if frame.id != "good":
            raise ZeroDivisionError(frame.id)

    works = line()
    works.decoder.script = script
    for name in ("odd", "odd", "odd", "other", "good", "other"):
        works.send(name)
        works.next()
    assert [record.message for record in caplog.records] == ["decoding a frame of zmq failed"] * 3


def test_a_feed_that_the_graph_refuses_is_a_bad_image_and_no_failure_of_the_session(line) -> None:
    def refuse(number: int) -> None:
        raise BadFeed("damaged JPEG")

    works = line(script=refuse)
    for number in range(FAILURES_IN_A_ROW + 1):
        works.send(str(number))
        assert works.next().refusal is Refusal.BAD_IMAGE
    assert works.pipeline.failures_in_a_row == 0 and works.deaths.empty()


def test_a_session_that_keeps_failing_is_reported_once_all_have_their_answer(line) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    works = line(script=fail)
    for number in range(FAILURES_IN_A_ROW):
        works.send(str(number))
        assert works.next().refusal is Refusal.INTERNAL
    thread, error = works.deaths.get(timeout=SOON_S)
    assert thread == "session" and "failed 5 times in a row" in str(error)
    assert works.session.closed


def test_a_good_run_forgives_the_failures_before_it(line) -> None:
    def fail_but_now_and_then(number: int) -> None:
        if number % FAILURES_IN_A_ROW:
            raise SessionError("a passing fault")

    works = line(script=fail_but_now_and_then)
    for number in range(1, 3 * FAILURES_IN_A_ROW + 1):
        works.send(str(number))
        assert works.next().ok == (number % FAILURES_IN_A_ROW == 0)
    assert works.pipeline.failures_in_a_row == 0
    assert not works.deaths.qsize() and not works.session.closed


def test_a_new_session_is_not_blamed_for_the_failures_of_the_old_one(line) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    works = line(script=fail)
    for number in range(FAILURES_IN_A_ROW - 1):
        works.send(str(number))
        assert works.next().refusal is Refusal.INTERNAL
    works.replace(script=lambda number: fail(number) if number < FAILURES_IN_A_ROW else None)
    for number in range(1, FAILURES_IN_A_ROW + 1):
        works.send(str(number))
        assert works.next().ok == (number == FAILURES_IN_A_ROW)
    assert not works.deaths.qsize()


def test_a_new_session_that_keeps_failing_is_reported_as_soon_as_the_first_one(line) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    works = line()
    works.send("good")
    assert works.next().ok
    works.replace(fail)
    for number in range(FAILURES_IN_A_ROW):
        works.send(str(number))
        assert works.next().refusal is Refusal.INTERNAL
    thread, error = works.deaths.get(timeout=SOON_S)
    assert thread == "session" and "failed 5 times in a row" in str(error)


def test_where_an_unknown_error_of_the_session_came_from_is_in_the_log(line, caplog) -> None:
    def fail(number: int) -> None:
        raise SessionError("known") if number == 1 else ValueError("unknown")

    works = line(script=fail)
    for name in "ab":
        works.send(name)
        assert works.next().refusal is Refusal.INTERNAL
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]
    assert [record.message for record in caplog.records] == [
        "the Session failed: known", "the Session failed: unknown"
    ]  # fmt: skip


def test_it_is_said_when_the_session_is_loaded(line) -> None:
    assert line().ready.wait(SOON_S)


def test_a_session_thread_that_dies_takes_the_others_and_the_session_along(line) -> None:
    def die() -> None:
        if threading.current_thread().name == "session":
            raise ZeroDivisionError

    works = line()
    works.deliver_script = die
    for number in range(1000):
        works.send(str(number))
        works.wait_until(lambda: not works.results.empty() or not works.deaths.empty())
        if not works.deaths.empty():
            break
        works.next()
    thread, error = works.deaths.get(timeout=SOON_S)
    assert thread == "session" and isinstance(error, ZeroDivisionError) and works.session.closed


def test_a_thread_that_ends_in_any_way_reports_its_death(line) -> None:
    def leave(frame: Frame) -> None:
        raise SystemExit  # what threading itself would pass over in silence

    works = line()
    works.decoder.script = leave
    works.send("last")
    thread, error = works.deaths.get(timeout=SOON_S)
    assert thread == "decode" and isinstance(error, SystemExit)


def test_what_each_thread_is_at_can_be_seen_from_outside(line) -> None:
    works = line(held=True)
    running, running_beside, decoding, decoding_large = works.pipeline.works
    works.send("runs")
    works.send("large")
    assert works.session.running.wait(SOON_S)
    while not decoding_large.busy:
        threading.Event().wait(0.001)
    assert running.busy != running_beside.busy and not decoding.busy
    works.decoder.let_go.release()
    works.session.release(2)
    assert {works.next().id, works.next().id} == {"runs", "large"}


def test_closing_drains_what_was_taken_and_closes_the_session(line) -> None:
    works = line(held=True)
    works.send("runs")
    assert works.session.running.wait(SOON_S)
    works.send("decoded")
    while len(works.mailbox):
        threading.Event().wait(0.001)
    works.mailbox.close()
    assert not works.drained.is_set()
    works.session.release(2)
    assert [works.next().id for _ in range(2)] == ["runs", "decoded"]
    assert works.drained.wait(SOON_S) and works.session.closed


def test_closing_waits_for_a_large_frame_that_is_still_decoded(line) -> None:
    works = line()
    decoding_large = works.pipeline.works[-1]
    works.send("large")
    works.wait_until(lambda: decoding_large.busy)
    works.mailbox.close()
    assert not works.drained.wait(0.05)
    works.decoder.let_go.release()
    assert works.next().id == "large" and works.drained.wait(SOON_S)


def test_closing_waits_for_the_run_of_each_thread(line) -> None:
    for first, second in (("session", "session-2"), ("session-2", "session")):
        may_end = {first: threading.Event(), second: threading.Event()}

        def wait(number: int, may_end: dict[str, threading.Event] = may_end) -> None:
            assert may_end[threading.current_thread().name].wait(SOON_S)

        works = line(script=wait, reentrant=True)
        works.send("a")
        works.send("b")
        assert works.session.wait_until_under_way(2)
        works.mailbox.close()
        may_end[first].set()
        works.next()
        assert not works.drained.wait(0.05) and not works.session.closed and works.deaths.empty()
        may_end[second].set()
        works.next()
        assert works.drained.wait(SOON_S) and works.session.closed


def test_a_cameras_frame_in_which_nothing_changed_is_skipped_before_it_is_run(line) -> None:
    works = line(changes=ChangeDetector(0.01, most_s=60))
    works.show(50)
    assert works.next().ok
    for _ in range(3):
        works.show(52)
        works.skipped.get(timeout=SOON_S)
    works.show(150)
    assert works.next().id == 150
    assert works.session.runs == 2 and works.skipped.empty() and works.results.empty()


def test_regions_of_a_camera_are_skipped_each_for_itself(line) -> None:
    works = line(changes=ChangeDetector(0.01, most_s=60))
    for source in ("camera.door", "camera.feeder"):
        works.show(50, source)
        assert works.next().source == source
    works.show(50, "camera.door")
    works.skipped.get(timeout=SOON_S)
    works.show(150, "camera.feeder")
    assert works.next().source == "camera.feeder"


def test_a_request_is_never_skipped(line) -> None:
    works = line(changes=ChangeDetector(0.01, most_s=60))
    for _ in range(3):
        works.send("the same")
        assert works.next().ok
    assert works.skipped.empty()


def test_the_daemons_own_frames_are_never_skipped(line) -> None:
    works = line(changes=ChangeDetector(0.01, most_s=60))
    for _ in range(3):
        works.show(50, OWN)
        assert works.next().is_own
    assert works.skipped.empty()


def test_another_measure_of_change_holds_from_the_next_frame_on(line) -> None:
    works = line()
    for _ in range(2):
        works.show(50)
        assert works.next().ok
    works.pipeline.compare_by(ChangeDetector(0.01, most_s=60))
    works.show(50)
    assert works.next().ok, "it has seen nothing yet"
    works.show(50)
    works.skipped.get(timeout=SOON_S)
    works.pipeline.compare_by(None)
    works.show(50)
    assert works.next().ok


def test_a_frame_whose_preparation_failed_is_no_reason_to_skip_the_next(line) -> None:
    def fail() -> None:
        works.decoder.feed_script = lambda: None
        raise ZeroDivisionError

    works = line(changes=ChangeDetector(0.01, most_s=60))
    works.decoder.feed_script = fail
    works.show(50)
    assert works.next().refusal is Refusal.INTERNAL
    works.show(50)
    assert works.next().ok


def test_after_the_longest_pause_a_frame_is_classified_all_the_same(line) -> None:
    works = line(changes=ChangeDetector(0.01, most_s=60))
    works.show(50)
    assert works.next().ok
    works.now = 30.0
    works.show(50)
    works.skipped.get(timeout=SOON_S)
    works.now = 60.0
    works.show(50)
    assert works.next().ok


def test_a_frame_whose_run_failed_is_no_reason_to_skip_the_next(line) -> None:
    def fail_first(number: int) -> None:
        if number == 1:
            raise SessionError("once")

    works = line(script=fail_first, changes=ChangeDetector(0.01, most_s=60))
    works.show(50)
    assert works.next().refusal is Refusal.INTERNAL
    works.show(50)
    assert works.next().ok
    works.show(50)
    works.skipped.get(timeout=SOON_S)


def test_an_unchanged_camera_does_not_hold_up_requests_nor_the_session_its_frames(line) -> None:
    works = line(held=True, changes=ChangeDetector(0.01, most_s=60))
    works.show(50)
    assert works.session.running.wait(SOON_S)
    for _ in range(5):  # looked at while the Session runs
        works.show(50)
        works.skipped.get(timeout=SOON_S)
    works.send("request")
    while len(works.mailbox):
        threading.Event().wait(0.001)
    works.session.release(2)
    assert [works.next().id, works.next().id] == [50, "request"]
    assert works.session.runs == 2


def test_a_new_session_takes_the_next_frame_and_the_old_one_ends_its_own(line) -> None:
    works = line(held=True)
    works.send("old")
    assert works.session.running.wait(SOON_S)
    new = works.replace()
    works.send("new")
    assert not works.session.closed, "closed while it runs"
    works.session.release()
    results = {result.id: result for result in (works.next(), works.next())}
    assert len(results["old"].predictions) == 2 and len(results["new"].predictions) == 1
    assert (works.session.runs, new.runs) == (1, 1)
    assert works.session.wait_until_closed(SOON_S), "the old Session's memory is never given back"
    assert not new.closed
    works.mailbox.close()
    assert works.drained.wait(SOON_S) and works.session.closed and new.closed


def test_a_session_that_is_replaced_while_it_idles_is_closed(line) -> None:
    works = line()
    works.send("old")
    assert works.next().ok
    new = works.replace()
    assert works.session.wait_until_closed(SOON_S), "the old Session's memory is never given back"
    works.send("new")
    assert works.next().ok and new.runs == 1
    works.mailbox.close()
    assert works.drained.wait(SOON_S) and new.closed


def test_frames_that_are_not_run_do_not_keep_a_replaced_session_open(line) -> None:
    def script(frame: Frame) -> None:
        if frame.id == "damaged":
            raise ImageError("no picture")

    works = line(changes=ChangeDetector(0.01, most_s=60))
    works.decoder.script = script
    works.now = 6.0
    works.send("late", deadline=5.0)
    assert works.next().refusal is Refusal.EXPIRED
    works.send("damaged")
    assert works.next().refusal is Refusal.BAD_IMAGE
    works.show(50)
    assert works.next().ok
    works.show(50)
    works.skipped.get(timeout=SOON_S)
    works.replace()
    assert works.session.wait_until_closed(SOON_S), "the old Session's memory is never given back"


def test_frames_that_come_while_sessions_are_replaced_are_all_classified(line) -> None:
    works = line()
    for number in range(50):
        works.send(str(number))
        works.replace()
    assert all(works.next().ok for _ in range(50))
    assert not works.deaths.qsize()


def test_a_request_is_run_beside_another_one(line) -> None:
    works = line(held=True, reentrant=True)
    for name in "abcd":
        works.send(name)
    assert works.session.wait_until_under_way(2)
    assert not works.session.wait_until_under_way(3, timeout_s=0.05)
    works.session.release(4)
    assert sorted(str(works.next().id) for _ in range(4)) == list("abcd")


@pytest.mark.parametrize(("reentrant", "overlap"), [(False, True), (True, False)])
def test_requests_are_run_one_after_the_other_where_that_has_to_be(line, reentrant, overlap) -> None:
    works = line(held=True, reentrant=reentrant, overlap=overlap)
    works.send("a")
    works.send("b")
    assert works.session.wait_until_under_way(1)
    assert not works.session.wait_until_under_way(2, timeout_s=0.05)
    works.session.release(2)
    assert [works.next().id, works.next().id] == ["a", "b"]


def test_a_cameras_frame_has_the_session_for_itself(line) -> None:
    works = line(held=True, reentrant=True)
    works.show(50)
    assert works.session.wait_until_under_way(1)
    works.send("later")
    works.send("later still")
    assert not works.session.wait_until_under_way(2, timeout_s=0.05)
    works.session.release()
    assert works.next().id == 50
    assert works.session.wait_until_under_way(2)
    works.show(51)
    works.session.release(3)
    assert {works.next().id for _ in range(3)} == {"later", "later still", 51}


def test_a_request_that_failed_and_one_beside_it_have_each_their_own_answer(line) -> None:
    def fail_first(number: int) -> None:
        if number == 1:
            raise SessionError("once")

    works = line(held=True, script=fail_first, reentrant=True)
    works.send("a")
    works.send("b")
    assert works.session.wait_until_under_way(2)
    works.session.release(2)
    results = {result.id: result.refusal for result in (works.next(), works.next())}
    assert list(results.values()).count(Refusal.INTERNAL) == 1 and results.keys() == {"a", "b"}


def test_closing_waits_for_both_runs_before_the_session_is_closed(line) -> None:
    works = line(held=True, reentrant=True)
    works.send("a")
    works.send("b")
    assert works.session.wait_until_under_way(2)
    works.mailbox.close()
    works.session.release()
    works.next()
    assert not works.drained.is_set() and not works.session.closed
    works.session.release()
    works.next()
    assert works.drained.wait(SOON_S) and works.session.closed and works.deaths.empty()


def test_a_session_that_is_replaced_during_two_runs_is_closed_after_the_second(line) -> None:
    works = line(held=True, reentrant=True)
    works.send("a")
    works.send("b")
    assert works.session.wait_until_under_way(2)
    new = works.replace()
    works.session.release()
    works.next()
    assert not works.session.closed
    works.session.release()
    works.next()
    works.send("c")
    assert works.next().id == "c" and (works.session.runs, new.runs) == (2, 1)
    works.mailbox.close()
    assert works.drained.wait(SOON_S) and works.session.closed and works.deaths.empty()


@pytest.mark.parametrize("lasting", ["session", "session-2"])
def test_a_session_that_breaks_is_reported_whichever_thread_saw_it(line, lasting) -> None:
    may_end = threading.Event()

    def break_down(number: int) -> None:
        if threading.current_thread().name != lasting:
            raise SessionError("broken")
        assert may_end.wait(SOON_S)

    works = line(script=break_down, reentrant=True)
    for number in range(FAILURES_IN_A_ROW + 1):
        works.send(str(number))
    for _ in range(FAILURES_IN_A_ROW):
        assert works.next().refusal is Refusal.INTERNAL
    may_end.set()
    thread, error = works.deaths.get(timeout=SOON_S)
    assert thread == "session" and isinstance(error, SessionError) and works.session.closed


def test_a_session_that_breaks_is_not_closed_under_a_run_that_still_lasts(line) -> None:
    may_end = threading.Event()

    def break_down(number: int) -> None:
        if number > 1:
            raise SessionError("broken")
        assert may_end.wait(SOON_S)

    works = line(script=break_down, reentrant=True)
    works.send("lasts")
    assert works.session.wait_until_under_way(1)
    for number in range(FAILURES_IN_A_ROW):
        works.send(str(number))
        assert works.next().refusal is Refusal.INTERNAL
    may_end.set()
    assert works.next().id == "lasts"
    thread, error = works.deaths.get(timeout=SOON_S)
    assert thread == "session" and isinstance(error, SessionError) and works.session.closed


def run_once(works: Line, decode_s: float, run_s: float) -> None:
    """Let a camera's frame take so long by the pipeline's clock, which then is set to now.

    After it, a request runs.
    """

    def decode(frame: Frame) -> None:
        works.now += decode_s if frame.ticket is None else 0.0

    works.decoder.script = decode
    works.now = time.monotonic()
    works.show(1)
    assert works.session.running.wait(SOON_S)
    works.now += run_s
    works.session.release()
    assert works.next().id == 1
    works.now = time.monotonic()
    works.send("request")
    assert works.session.running.wait(SOON_S)


def test_a_cameras_frame_is_left_for_a_newer_one_until_the_run_is_nearly_over(line) -> None:
    works = line(held=True)
    run_once(works, decode_s=60.0, run_s=3600.0)
    works.show(2)
    time.sleep(0.05)
    assert works.mailbox.cameras == 1, "it grows old decoded"
    works.show(3)
    works.session.release(2)
    assert [works.next().id, works.next().id] == ["request", 3]


@pytest.mark.parametrize(("decode_s", "run_s"), [(0.0, 0.0), (4000.0, 3600.0)])
def test_a_cameras_frame_is_decoded_in_time_for_the_end_of_the_run(line, decode_s, run_s) -> None:
    works = line(held=True)
    run_once(works, decode_s, run_s)
    works.show(2)
    works.wait_until(lambda: not works.mailbox.cameras)
    works.session.release(2)
    assert [works.next().id, works.next().id] == ["request", 2]


def test_a_cameras_frame_does_not_wait_for_a_run_that_is_over(line) -> None:
    works = line(held=True)
    run_once(works, decode_s=0.0, run_s=0.0)
    works.now += 3600.0
    works.session.release(2)
    assert works.next().id == "request"
    works.show(2)
    assert works.next().id == 2


def test_the_first_cameras_frame_is_taken_at_once_though_a_run_lasts(line) -> None:
    works = line(held=True)
    works.now = time.monotonic()
    works.send("request")
    assert works.session.running.wait(SOON_S)
    works.show(1)
    works.wait_until(lambda: not works.mailbox.cameras)
    works.session.release(2)
