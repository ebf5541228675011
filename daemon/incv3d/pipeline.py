"""The two worker threads: one decodes the next frame while the other runs the Session on this one."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from incv3d.classifier import Classifier, Prepared
from incv3d.frames import Frame, Refusal, Result
from incv3d.mailbox import Mailbox
from incv3d.preprocess import PictureError
from incv3d.sessions.base import BadFeed, SessionError

LOG = logging.getLogger(__name__)
FAILURES_IN_A_ROW = 5
"""A Session that fails so often without one good run is broken; restarting is the supervisor's business."""


class Pipeline:
    """Takes frames from the mailbox and delivers one result for each.

    :param load: opens and warms the Session; called in the thread that will run it, so that the main
        thread stays free to answer signals meanwhile.
    :param deliver: takes every result; called from both threads.
    :param on_ready: told once, when `load` has returned.
    :param on_drained: told when the mailbox was closed and every frame taken from it has its result.
    :param on_death: told the thread's name and the error when a thread cannot go on.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        load: Callable[[], Classifier],
        deliver: Callable[[Result], None],
        on_ready: Callable[[], None],
        on_drained: Callable[[], None],
        on_death: Callable[[str, Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mailbox = mailbox
        self._load = load
        self._deliver = deliver
        self._on_ready = on_ready
        self._on_drained = on_drained
        self._on_death = on_death
        self._clock = clock
        # One place: a decoded frame waits while another runs, and no more than that grows old.
        self._prepared: queue.Queue[Prepared | None] = queue.Queue(maxsize=1)

    def start(self) -> None:
        """Begin: load, warm, and serve the mailbox until it is closed."""
        self._spawn("session", self._load_and_run)

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
                self._on_death(name, error)

        threading.Thread(target=guarded, name=name, daemon=True).start()

    def _load_and_run(self) -> None:
        classifier = self._load()
        self._on_ready()
        self._spawn("decode", lambda: self._decode_frames(classifier))
        failures = 0
        try:
            while (prepared := self._prepared.get()) is not None:
                if self._has_expired(prepared.frame):
                    continue
                result, failures = self._run(classifier, prepared, failures)
                self._deliver(result)
                if failures >= FAILURES_IN_A_ROW:
                    raise SessionError(f"the Session failed {failures} times in a row")
        finally:
            classifier.session.close()
        self._on_drained()

    def _run(self, classifier: Classifier, prepared: Prepared, failures: int) -> tuple[Result, int]:
        try:
            return classifier.classify(prepared), 0
        except BadFeed as error:
            # The picture's fault, found by the graph's own decoder: it says nothing of the Session.
            return Result.refused(prepared.frame, Refusal.BAD_IMAGE, str(error)), failures
        except Exception as error:
            # One frame's failure must not cost the others their answers; a broken Session ends the daemon.
            LOG.error("the Session failed: %s", error, exc_info=not isinstance(error, SessionError))
            detail = "the Session failed; see the daemon's log"
            return Result.refused(prepared.frame, Refusal.INTERNAL, detail), failures + 1

    def _decode_frames(self, classifier: Classifier) -> None:
        while (frame := self._mailbox.take()) is not None:
            if self._has_expired(frame):
                continue
            prepared = self._prepare(classifier, frame)
            if prepared:
                self._prepared.put(prepared)
        self._prepared.put(None)

    def _prepare(self, classifier: Classifier, frame: Frame) -> Prepared | None:
        try:
            return classifier.prepare(frame)
        except PictureError as error:
            self._deliver(Result.refused(frame, error.refusal, str(error)))
        except Exception:
            # A decoder's bug must cost one frame, not the daemon.
            LOG.exception("decoding a frame of %s failed", frame.source)
            self._deliver(Result.refused(frame, Refusal.INTERNAL, "decoding failed; see the daemon's log"))
        return None

    def _has_expired(self, frame: Frame) -> bool:
        late_s = self._clock() - frame.deadline if frame.deadline is not None else 0.0
        if late_s > 0:
            detail = f"its time to live ended {late_s * 1000:.0f} ms before its turn"
            self._deliver(Result.refused(frame, Refusal.EXPIRED, detail))
        return late_s > 0
