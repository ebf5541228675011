"""The daemon's own source, as the daemon holds it."""

from __future__ import annotations

import logging
import time

from incv3d.images.decode_cost import is_large
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources.manager import SAY_EVERY_S, SourceManager


def test_a_flood_of_pauses_and_resumptions_costs_a_line_now_and_then_and_the_last_one_counts(caplog) -> None:
    caplog.set_level(logging.INFO)
    captures = SourceManager(
        FrameQueue(1, 1, 1, is_large), lambda: None, lambda name: None, lambda name, error: None
    )
    began = time.monotonic()
    for _ in range(1000):
        captures.pause(True)
        captures.pause(False)
    captures.pause(True)
    captures.pause(False)
    assert not captures.paused
    said = [record.message for record in caplog.records]
    assert said[0] == "paused: the source is passed over"
    assert len(said) <= 1 + (time.monotonic() - began) / SAY_EVERY_S
    captures.say(time.monotonic() + SAY_EVERY_S)
    captures.say(time.monotonic() + 2 * SAY_EVERY_S)
    assert [record.message for record in caplog.records][-1] == "resumed"
    assert len(caplog.records) == len(said) + 1
