"""What the pipeline makes of a frame whose damage only the graph's own decoder finds."""

from __future__ import annotations

import queue

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.classifier import Classifier
from incv3d.frames import Frame, Refusal, Result
from incv3d.mailbox import Mailbox
from incv3d.pipeline import FAILURES_IN_A_ROW, Pipeline
from incv3d.preprocess import Preprocessor
from incv3d.resizing import InputSpec
from incv3d.sessions.base import BadFeed, SessionError

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")


def test_a_bad_feed_is_a_bad_image_and_no_failure_of_the_session() -> None:
    bad = FAILURES_IN_A_ROW * 2

    def script(number: int) -> None:
        if number <= bad:
            raise BadFeed("damaged JPEG: as the graph says")
        if number > bad + 1:
            raise SessionError("broken")

    session = ScriptedSession(script=script)
    mailbox = Mailbox(100, 10**6)
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    deaths: queue.SimpleQueue[tuple[str, Exception]] = queue.SimpleQueue()
    classifier = Classifier(Preprocessor(SPEC, 10**6), session, TwoLabels(), top_k=5)
    pipeline = Pipeline(
        mailbox,
        lambda: classifier,
        results.put,
        on_ready=lambda: None,
        on_drained=lambda: None,
        on_death=lambda thread, error: deaths.put((thread, error)),
    )
    for _ in range(bad + 1 + FAILURES_IN_A_ROW):
        mailbox.offer(Frame("zmq", jpeg(), None, received=0.0, captured=0.0))
    pipeline.start()
    got = [results.get(timeout=20) for _ in range(bad + 1 + FAILURES_IN_A_ROW)]
    assert [each.refusal for each in got] == (
        [Refusal.BAD_IMAGE] * bad + [None] + [Refusal.INTERNAL] * FAILURES_IN_A_ROW
    )
    assert got[0].detail == "damaged JPEG: as the graph says"
    thread, error = deaths.get(timeout=20)
    assert thread == "session" and "times in a row" in str(error)
