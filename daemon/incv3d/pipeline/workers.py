"""The worker threads: two decode the next frames while two others run the Session on these."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from incv3d.engines.base import BadFeed, SessionError
from incv3d.frames import OWN, Frame, Refusal, Result
from incv3d.images.change_detector import ChangeDetector
from incv3d.images.preprocess import ImageError
from incv3d.pipeline.classifier import RUNS_AT_ONCE, Classifier, Prepared
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.run_slots import RunSlots
from incv3d.threads import Activity

LOG = logging.getLogger(__name__)
FAILURES_IN_A_ROW = 5
"""A Session that fails so often without one good run is broken; restarting is the supervisor's business."""


class _Lane:
    """One decoder: the line of the mailbox that it serves, and the one place that its decoded frame has."""

    def __init__(self, name: str, large: bool) -> None:
        self.work = Activity(name, "decoding a frame")
        self.large = large
        # Taken before a frame is, so that nothing grows old decoded: the Session gives it back.
        self.place = threading.Lock()


class _Runner:
    """One thread that runs the Session."""

    def __init__(self, name: str) -> None:
        self.work = Activity(name, "running the Session")
        self.started: float | None = None
        """When its run began, while there is one."""


class _InForce:
    """A classifier, and the frames that still need it: decoded for one model, they are run by no other."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.frames = 0
        self.replaced = False


class Pipeline:
    """Takes frames from the mailbox and delivers one result for each, but for those that are skipped.

    Ordinary frames and large ones are decoded by a thread each, and the Session takes what is ready first:
    a picture of 64 million pixels, which takes as long to decode as many runs, holds up nobody but the next
    such picture. Few frames are out of the mailbox: those that run, and for each decoder one that is being
    decoded or waits decoded.

    A request is run beside another one, where the Session bears that: a run alone leaves cores idle while
    its operations wait for each other. Both take longer, and more come through. A camera's frame has the
    Session for itself: there, a frame that is young counts more than one more.

    :param load: opens and warms the Session; called in a thread that will run it, so that the main
        thread stays free to answer signals meanwhile.
    :param deliver: takes every result; called from all threads.
    :param on_ready: told once, when `load` has returned.
    :param on_drained: told when the mailbox was closed and every frame taken from it has its result.
    :param on_death: told the thread's name and the error when a thread cannot go on.
    :param changes: a camera's frame in which nothing changed is skipped; None: none is.
    :param on_skipped: told of every frame that was skipped.
    """

    def __init__(
        self,
        mailbox: FrameQueue,
        load: Callable[[], Classifier],
        deliver: Callable[[Result], None],
        on_ready: Callable[[], None],
        on_drained: Callable[[], None],
        on_death: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.monotonic,
        changes: ChangeDetector | None = None,
        on_skipped: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        self._mailbox = mailbox
        self._load = load
        self._deliver = deliver
        self._on_ready = on_ready
        self._on_drained = on_drained
        self._on_death = on_death
        self._clock = clock
        self._changes = changes
        self._on_skipped = on_skipped
        self._lanes = (_Lane("decode", large=False), _Lane("decode-large", large=True))
        self._runners = [_Runner("session"), *(_Runner(f"session-{n}") for n in range(2, RUNS_AT_ONCE + 1))]
        self._turns = RunSlots()
        self._ready: queue.SimpleQueue[tuple[_Lane, _InForce, Prepared] | None] = queue.SimpleQueue()
        self._lanes_left = len(self._lanes)
        self._in_force: _InForce | None = None
        self._swap = threading.Lock()
        self._run_s = self._decode_s = 0.0
        self._decoding_failures: dict[str, str] = {}
        """The latest error of the decoder for each source that has had no good frame since."""
        self._broken: SessionError | None = None
        self.failures_in_a_row = 0
        """Runs that failed since the last good one."""

    @property
    def works(self) -> tuple[Activity, ...]:
        """What each thread is at."""
        return (*(runner.work for runner in self._runners), *(lane.work for lane in self._lanes))

    def start(self) -> None:
        """Begin: load, warm, and serve the mailbox until it is closed."""
        self._spawn(self._runners[0].work.name, self._load_and_run)

    def replace(self, classifier: Classifier) -> None:
        """Let frames that are taken from now on go to `classifier`, which is warm.

        Those that are at the old one are finished by it; then it is closed.
        """
        with self._swap:
            old, self._in_force = self._in_force, _InForce(classifier)
            assert old, "nothing is in force yet"
            old.replaced = True
            unused = not old.frames
            self.failures_in_a_row = 0
        if unused:
            old.classifier.close()

    def compare_by(self, changes: ChangeDetector | None) -> None:
        """Find what moved by `changes`, which has seen nothing yet, from the next frame on."""
        self._changes = changes

    def _borrow(self) -> _InForce:
        with self._swap:
            assert self._in_force
            self._in_force.frames += 1
            return self._in_force

    def _give_back(self, used: _InForce) -> None:
        with self._swap:
            used.frames -= 1
            unused = used.replaced and not used.frames
        if unused:
            used.classifier.close()

    def _spawn(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
                self._on_death(name, error)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _load_and_run(self) -> None:
        self._in_force = _InForce(self._load())
        self._on_ready()
        for lane in self._lanes:
            self._spawn(lane.work.name, partial(self._decode_frames, lane))
        first, *others = self._runners
        threads = [self._spawn(each.work.name, partial(self._run_frames, each)) for each in others]
        try:
            self._run_frames(first)
        finally:
            # Closed while another thread is in it, it would take the process along.
            self._end_runners()
            for thread in threads:
                thread.join()
            self._in_force.classifier.close()
        if self._broken:
            raise self._broken
        self._on_drained()

    def _run_frames(self, runner: _Runner) -> None:
        while (decoded := self._ready.get()) is not None:
            lane, in_force, prepared = decoded
            runs_at_once = in_force.classifier.runs_at_once if prepared.frame.ticket is not None else 1
            with self._turns.among(runs_at_once):
                lane.place.release()
                with runner.work:
                    if not self._has_expired(prepared.frame):
                        self._deliver(self._timed_run(runner, in_force.classifier, prepared))
            self._give_back(in_force)
            if self.failures_in_a_row >= FAILURES_IN_A_ROW:
                # The first thread ends the others, closes the Session and reports it, whichever saw it.
                self._broken = SessionError(f"the Session failed {self.failures_in_a_row} times in a row")
                self._end_runners()
                return

    def _end_runners(self) -> None:
        for _ in self._runners:
            self._ready.put(None)

    def _timed_run(self, runner: _Runner, classifier: Classifier, prepared: Prepared) -> Result:
        runner.started = started = self._clock()
        result = self._run(classifier, prepared)
        self._run_s = self._clock() - started
        runner.started = None
        self._mailbox.look_again()
        if result.refusal:
            self._forget(prepared.frame)
        return result

    def _cameras_from(self) -> float:
        """When to take a camera's frame so that it is decoded just as the Session has time for it.

        Taken sooner it would wait decoded while newer ones come. What the next run and decoding take is what
        the last ones took; a run that ends sooner says so.
        """
        started = [each for runner in self._runners if (each := runner.started) is not None]
        return max(started) + self._run_s - self._decode_s if started else 0.0

    def _run(self, classifier: Classifier, prepared: Prepared) -> Result:
        try:
            result = classifier.classify(prepared)
        except BadFeed as error:
            # The picture's fault, found by the graph's own decoder: it says nothing of the Session.
            return Result.refused(prepared.frame, Refusal.BAD_IMAGE, str(error))
        except Exception as error:
            # One frame's failure must not cost the others their answers; a broken Session ends the daemon.
            LOG.error("the Session failed: %s", error, exc_info=not isinstance(error, SessionError))
            with self._swap:
                self.failures_in_a_row += 1
            detail = "the Session failed; see the daemon's log"
            return Result.refused(prepared.frame, Refusal.INTERNAL, detail)
        self.failures_in_a_row = 0
        return result

    def _decode_frames(self, lane: _Lane) -> None:
        lane.place.acquire()
        while (frame := self._mailbox.take(lane.large, self._cameras_from)) is not None:
            in_force = self._borrow()
            with lane.work:
                prepared = None if self._has_expired(frame) else self._prepare(in_force.classifier, frame)
            if prepared:
                if frame.ticket is None:
                    self._decode_s = prepared.decode_ms / 1000
                self._ready.put((lane, in_force, prepared))
                lane.place.acquire()
            else:
                self._give_back(in_force)
        with self._swap:
            self._lanes_left -= 1
            is_last = not self._lanes_left
        if is_last:
            self._end_runners()

    def _prepare(self, classifier: Classifier, frame: Frame) -> Prepared | None:
        try:
            # A request is answered, and the daemon's own frame proves that the Session works.
            changes = self._changes
            if changes is None or frame.ticket is not None or frame.source == OWN:
                prepared: Prepared | None = classifier.prepare(frame)
            else:
                is_news = partial(changes.is_news, frame.source, self._clock())
                prepared = classifier.prepare_if(is_news, frame)
            self._decoding_failures.pop(frame.source, None)
            if prepared is None:
                self._on_skipped(frame)
            return prepared
        except ImageError as error:
            self._deliver(Result.refused(frame, error.refusal, str(error)))
        except Exception as error:
            # A decoder's bug must cost one frame, not the daemon, and not a traceback for every frame.
            if self._decoding_failures.get(frame.source) != repr(error):
                self._decoding_failures[frame.source] = repr(error)
                LOG.exception("decoding a frame of %s failed", frame.source)
            self._forget(frame)
            self._deliver(Result.refused(frame, Refusal.INTERNAL, "decoding failed; see the daemon's log"))
        return None

    def _forget(self, frame: Frame) -> None:
        """Let the next frame of its source be classified although it may be like this one, which was not."""
        if changes := self._changes:
            changes.forget(frame.source)

    def _has_expired(self, frame: Frame) -> bool:
        now = self._clock()
        if frame.deadline is None or not frame.has_expired(now):
            return False
        detail = f"its time to live ended {(now - frame.deadline) * 1000:.0f} ms before its turn"
        self._deliver(Result.refused(frame, Refusal.EXPIRED, detail))
        return True
