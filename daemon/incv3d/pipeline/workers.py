"""Run the worker threads: two decode frames while two others run the Session."""

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
from incv3d.pipeline.classifier import RUNS_AT_ONCE, Classifier, PreparedFrame
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.run_slots import RunSlots
from incv3d.threads import Activity, OnDeath, start_thread

LOG = logging.getLogger(__name__)
FAILURES_IN_A_ROW = 5
"""A Session that fails this often in a row is broken. Ending the daemon lets the service manager restart
it."""


class _Decoder:
    """A decoder thread: the lane of the queue that it serves, and one place for its decoded frame."""

    def __init__(self, name: str, large: bool) -> None:
        self.activity = Activity(name, "decoding a frame")
        self.large = large
        # Acquired before a frame is taken, so that decoded frames do not grow old; released by the runner.
        self.place = threading.Lock()


class _Runner:
    """A thread that runs the Session."""

    def __init__(self, name: str) -> None:
        self.activity = Activity(name, "running the Session")
        self.started: float | None = None
        """When the current run began; None between runs."""


class _ActiveClassifier:
    """A classifier and the number of frames that still need it: a frame runs on the model it was decoded
    for."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.frames = 0
        self.replaced = False


class Pipeline:
    """Takes frames from the queue and delivers one result for each frame that is not skipped.

    One thread decodes ordinary frames and another large ones; the Session runs whichever is ready first. An
    image of 64 million pixels, which takes as long to decode as many runs, therefore delays only other large
    images. Few frames are outside the queue at a time: those that are running and, for each decoder, one that
    is being or has been decoded.

    Two requests run at once if the Session supports it: a single run leaves cores idle while its operations
    wait for each other. Each takes longer, but throughput rises. A camera frame always runs alone: for
    cameras, low latency matters more than throughput.

    :param load: opens and warms up the Session; called in a thread that will run it, so that the main thread
        can still handle signals.
    :param deliver: called with every result, from any thread.
    :param on_ready: called once, after `load` has returned.
    :param on_drained: called when the queue is closed and every frame taken from it has its result.
    :param on_death: called with the thread's name and the error when a thread dies.
    :param changes: camera frames in which nothing changed are skipped; None: skip none.
    :param on_skipped: called with every skipped frame.
    """

    def __init__(
        self,
        frame_queue: FrameQueue,
        load: Callable[[], Classifier],
        deliver: Callable[[Result], None],
        on_ready: Callable[[], None],
        on_drained: Callable[[], None],
        on_death: OnDeath,
        clock: Callable[[], float] = time.monotonic,
        changes: ChangeDetector | None = None,
        on_skipped: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        self._frame_queue = frame_queue
        self._load = load
        self._deliver = deliver
        self._on_ready = on_ready
        self._on_drained = on_drained
        self._on_death = on_death
        self._clock = clock
        self._changes = changes
        self._on_skipped = on_skipped
        self._decoders = (_Decoder("decode", large=False), _Decoder("decode-large", large=True))
        self._runners = [_Runner("session"), *(_Runner(f"session-{n}") for n in range(2, RUNS_AT_ONCE + 1))]
        self._slots = RunSlots()
        self._ready: queue.SimpleQueue[tuple[_Decoder, _ActiveClassifier, PreparedFrame] | None] = (
            queue.SimpleQueue()
        )
        self._decoders_left = len(self._decoders)
        self._active: _ActiveClassifier | None = None
        self._swap = threading.Lock()
        self._run_s = self._decode_s = 0.0
        self._decoding_failures: dict[str, str] = {}
        """The latest decoder error of each source that has had no good frame since."""
        self._broken: SessionError | None = None
        self.failures_in_a_row = 0
        """Failed runs since the last good one."""

    @property
    def activities(self) -> tuple[Activity, ...]:
        """The current activity of each thread."""
        return (
            *(runner.activity for runner in self._runners),
            *(decoder.activity for decoder in self._decoders),
        )

    def start(self) -> None:
        """Load and warm up the model, then serve the queue until it is closed."""
        self._spawn(self._runners[0].activity.name, self._load_and_run)

    def replace(self, classifier: Classifier) -> None:
        """Use `classifier`, which is warm, for frames taken from now on.

        Frames that are already decoded finish on the old classifier, which is then closed.
        """
        with self._swap:
            old, self._active = self._active, _ActiveClassifier(classifier)
            assert old, "nothing is in force yet"
            old.replaced = True
            unused = not old.frames
            self.failures_in_a_row = 0
        if unused:
            old.classifier.close()

    def set_change_detector(self, changes: ChangeDetector | None) -> None:
        """Detect changes with `changes`, which has no history, from the next frame on."""
        self._changes = changes

    def _use_active(self) -> _ActiveClassifier:
        with self._swap:
            assert self._active
            self._active.frames += 1
            return self._active

    def _release(self, used: _ActiveClassifier) -> None:
        with self._swap:
            used.frames -= 1
            unused = used.replaced and not used.frames
        if unused:
            used.classifier.close()

    def _spawn(self, name: str, work: Callable[[], None]) -> threading.Thread:
        return start_thread(name, work, self._on_death)

    def _load_and_run(self) -> None:
        self._active = _ActiveClassifier(self._load())
        self._on_ready()
        for decoder in self._decoders:
            self._spawn(decoder.activity.name, partial(self._decode_frames, decoder))
        first, *others = self._runners
        threads = [self._spawn(each.activity.name, partial(self._run_frames, each)) for each in others]
        try:
            self._run_frames(first)
        finally:
            # Closing the Session while another thread runs it would crash the process.
            self._end_runners()
            for thread in threads:
                thread.join()
            self._active.classifier.close()
        if self._broken:
            raise self._broken
        self._on_drained()

    def _run_frames(self, runner: _Runner) -> None:
        while (decoded := self._ready.get()) is not None:
            decoder, active, prepared = decoded
            runs_at_once = active.classifier.runs_at_once if prepared.frame.request_id is not None else 1
            with self._slots.acquire(runs_at_once):
                decoder.place.release()
                with runner.activity:
                    if not self._has_expired(prepared.frame):
                        self._deliver(self._timed_run(runner, active.classifier, prepared))
            self._release(active)
            if self.failures_in_a_row >= FAILURES_IN_A_ROW:
                # Whichever thread sees it, the first one stops the others, closes the Session and reports the
                # error.
                self._broken = SessionError(f"the Session failed {self.failures_in_a_row} times in a row")
                self._end_runners()
                return

    def _end_runners(self) -> None:
        for _ in self._runners:
            self._ready.put(None)

    def _timed_run(self, runner: _Runner, classifier: Classifier, prepared: PreparedFrame) -> Result:
        runner.started = started = self._clock()
        result = self._run(classifier, prepared)
        self._run_s = self._clock() - started
        runner.started = None
        self._frame_queue.recheck_cameras()
        if result.refusal:
            self._forget(prepared.frame)
        return result

    def _camera_time(self) -> float:
        """Return when to take a camera's frame so that it is decoded just as the Session becomes free.

        Taken earlier, it would wait decoded while newer frames arrive. Assumes that the next run and decode
        take as long as the last ones; when a run ends early, the decoders ask again.
        """
        started = [each for runner in self._runners if (each := runner.started) is not None]
        return max(started) + self._run_s - self._decode_s if started else 0.0

    def _run(self, classifier: Classifier, prepared: PreparedFrame) -> Result:
        try:
            result = classifier.classify(prepared)
        except BadFeed as error:
            # The graph's own decoder rejected the image; the Session is fine.
            return Result.refused(prepared.frame, Refusal.BAD_IMAGE, str(error))
        except Exception as error:
            # One frame's failure must not cost the others their answers. A broken Session ends the daemon.
            LOG.error("the Session failed: %s", error, exc_info=not isinstance(error, SessionError))
            with self._swap:
                self.failures_in_a_row += 1
            detail = "the Session failed; see the daemon's log"
            return Result.refused(prepared.frame, Refusal.INTERNAL, detail)
        self.failures_in_a_row = 0
        return result

    def _decode_frames(self, decoder: _Decoder) -> None:
        decoder.place.acquire()
        while (frame := self._frame_queue.take(decoder.large, self._camera_time)) is not None:
            active = self._use_active()
            with decoder.activity:
                prepared = None if self._has_expired(frame) else self._prepare(active.classifier, frame)
            if prepared:
                if frame.request_id is None:
                    self._decode_s = prepared.decode_ms / 1000
                self._ready.put((decoder, active, prepared))
                decoder.place.acquire()
            else:
                self._release(active)
        with self._swap:
            self._decoders_left -= 1
            is_last = not self._decoders_left
        if is_last:
            self._end_runners()

    def _prepare(self, classifier: Classifier, frame: Frame) -> PreparedFrame | None:
        try:
            # A request must be answered, and the daemon's own frame must reach the Session.
            changes = self._changes
            is_compared = frame.request_id is None and frame.source != OWN
            if changes is None or not is_compared or not changes.looks_at(frame.source):
                prepared: PreparedFrame | None = classifier.prepare(frame)
            else:
                has_changed = partial(changes.has_changed, frame.source, self._clock())
                prepared = classifier.prepare_if(has_changed, frame)
            self._decoding_failures.pop(frame.source, None)
            if prepared is None:
                self._on_skipped(frame)
            return prepared
        except ImageError as error:
            self._deliver(Result.refused(frame, error.refusal, str(error)))
        except Exception as error:
            # A decoder bug may cost one frame, but not the daemon, nor a traceback per frame.
            if self._decoding_failures.get(frame.source) != repr(error):
                self._decoding_failures[frame.source] = repr(error)
                LOG.exception("decoding a frame of %s failed", frame.source)
            self._forget(frame)
            self._deliver(Result.refused(frame, Refusal.INTERNAL, "decoding failed; see the daemon's log"))
        return None

    def _forget(self, frame: Frame) -> None:
        """Classify the source's next frame even if it is like this one, which was not classified."""
        if changes := self._changes:
            changes.forget(frame.source)

    def _has_expired(self, frame: Frame) -> bool:
        now = self._clock()
        if frame.deadline is None or not frame.has_expired(now):
            return False
        detail = f"its time to live ended {(now - frame.deadline) * 1000:.0f} ms before its turn"
        self._deliver(Result.refused(frame, Refusal.EXPIRED, detail))
        return True
