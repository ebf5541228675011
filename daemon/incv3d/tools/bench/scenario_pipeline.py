"""Feed images to the daemon's own pipeline, without a network."""

from __future__ import annotations

import contextlib
import math
import queue
import sys
import time
from types import TracebackType

from incv3d.engines.base import Features, Feed, Scores, Session, SessionFacts
from incv3d.frames import Frame, Result
from incv3d.images.decode_cost import is_large
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import Pipeline
from incv3d.tools.bench.errors import BenchError

CLOSE_TIMEOUT_S = 60.0


class ScenarioPipeline:
    """The daemon's pipeline around one classifier. It decodes and runs requests as the daemon does.

    :param classifier: a warm one, which is closed when the block ends.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._session = classifier.session = _ObservedSession(classifier.session)
        self._frames = FrameQueue(sys.maxsize, sys.maxsize, sys.maxsize, is_large)
        self._finished: queue.SimpleQueue[tuple[Result, float] | BaseException | None] = queue.SimpleQueue()
        self._pipeline = Pipeline(
            self._frames,
            lambda: classifier,
            lambda result: self._finished.put((result, time.monotonic())),
            lambda: None,
            lambda: self._finished.put(None),
            lambda thread, error: self._finished.put(error),
        )
        self._submitted = self._received = 0
        self._is_over = False

    def __enter__(self) -> ScenarioPipeline:
        self._pipeline.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.close()
        # A run that hangs is abandoned with the process.
        with contextlib.suppress(queue.Empty):
            while not self._is_over:
                self._next(CLOSE_TIMEOUT_S)

    def submit(self, image: bytes, due: float) -> None:
        """Queue an image for classification.

        :param due: when it arrives (monotonic); its latency counts from then.
        """
        self._submitted += 1
        # With a deadline, so that clear() can take it out of the queue.
        self._frames.offer(
            Frame("bench", image, None, received=due, captured=due, deadline=math.inf, request_id=0)
        )

    def wait(self) -> tuple[float, float]:
        """Wait for the next result; return when its image was due, and when the result came (monotonic).

        :raises BenchError: if the image cannot be decoded.
        :raises SessionError: if the Session failed.
        """
        finished = self._next()
        if isinstance(finished, BaseException):
            raise finished
        if finished is None:
            raise BenchError("the pipeline has stopped")
        result, ended = finished
        if result.refusal:
            raise self._session.error or BenchError(f"an image could not be classified: {result.detail}")
        assert result.frame
        return result.frame.received, ended

    def clear(self) -> None:
        """Take the waiting images out of the queue, and wait until those in the pipeline are finished, or the
        pipeline has stopped.

        :raises BenchError: if an image cannot be decoded.
        :raises SessionError: if the Session failed.
        """
        self._received += len(self._frames.purge(math.inf))
        while self._received < self._submitted and not self._is_over:
            self.wait()

    def _next(self, timeout_s: float | None = None) -> tuple[Result, float] | BaseException | None:
        finished = self._finished.get(timeout=timeout_s)
        if isinstance(finished, tuple):
            self._received += 1
        else:
            self._is_over = True
        return finished


class _ObservedSession:
    """A Session that keeps the first error of a run; the pipeline only logs it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.error: Exception | None = None

    @property
    def facts(self) -> SessionFacts:
        return self._session.facts

    def run(self, feed: Feed) -> Scores:
        return self.run_with_features(feed)[0]

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        try:
            return self._session.run_with_features(feed)
        except Exception as error:
            self.error = self.error or error
            raise

    def close(self) -> None:
        self._session.close()
