"""Frames that wait for their owner's decision."""

from __future__ import annotations

import numpy as np
import pytest

from incv3d.frames import Frame, Prediction, Result
from incv3d.models.taught.head import UNKNOWN
from incv3d.teaching import review
from incv3d.teaching.review import BURST_S, MOST_FRAMES, ReviewQueue

UNSURE = (Prediction(0, "", "empty", 0.52), Prediction(1, "", "full", 0.48))
SURE = (Prediction(0, "", "empty", 0.97), Prediction(1, "", "full", 0.03))
STRANGE = (Prediction(2, "", UNKNOWN, 0.9), Prediction(1, "", "full", 0.06), Prediction(0, "", "empty", 0.04))


def result(
    captured: float, predictions=UNSURE, source: str = "camera", looks: int | None = None, size: int = 100
) -> Result:
    """A result whose features are those of nothing else, unless two have the same `looks`."""
    features = np.zeros(2000, np.float32)
    features[looks if looks is not None else int(captured)] = 1
    frame = Frame(source, bytes(size), "jpeg", captured, captured)
    return Result(source, predictions=predictions, frame=frame, features=features)


@pytest.fixture
def queue() -> ReviewQueue:
    return ReviewQueue(lambda at: 1_000_000 + at)


def test_frames_that_are_unsure_or_unknown_wait_the_latest_first(queue: ReviewQueue) -> None:
    assert queue.offer(result(1))
    assert not queue.offer(result(20, SURE))
    assert queue.offer(result(40, STRANGE))
    waiting = queue.waiting()
    assert [each.at_unix_s for each in waiting] == [1_000_040, 1_000_001]
    assert [each.nearest for each in waiting] == ["full", "empty"]


def test_one_frame_of_a_burst_waits_however_long_the_burst_is(queue: ReviewQueue) -> None:
    for second in range(60):
        queue.offer(result(second))
    assert len(queue) == 1
    assert queue.offer(result(60 + BURST_S))


def test_two_sources_have_bursts_of_their_own(queue: ReviewQueue) -> None:
    assert queue.offer(result(1, source="camera.left"))
    assert queue.offer(result(2, source="camera.right"))


def test_a_frame_that_looks_like_one_that_waits_is_left_out(queue: ReviewQueue) -> None:
    assert queue.offer(result(1, looks=7))
    assert not queue.offer(result(100, looks=7))
    queue.remove(queue.waiting()[0].id)
    assert queue.offer(result(200, looks=7))


def test_the_oldest_give_way_to_later_ones(queue: ReviewQueue) -> None:
    for number in range(MOST_FRAMES + 5):
        assert queue.offer(result(20 * number))
    waiting = queue.waiting()
    assert len(waiting) == MOST_FRAMES
    assert waiting[-1].at_unix_s == 1_000_000 + 20 * 5


def test_large_frames_are_bounded_by_their_bytes(queue: ReviewQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "MOST_BYTES", 1000)
    assert not queue.offer(result(0, size=1001))
    for number in range(1, 5):
        assert queue.offer(result(20 * number, size=400))
    assert [each.at_unix_s for each in queue.waiting()] == [1_000_080, 1_000_060]


def test_a_decided_frame_is_gone_and_its_number_is_not_used_again(queue: ReviewQueue) -> None:
    queue.offer(result(1))
    first = queue.waiting()[0]
    queue.remove(first.id)
    assert queue.get(first.id) is None
    queue.offer(result(50))
    assert queue.waiting()[0].id != first.id


def test_results_without_features_or_predictions_do_not_wait(queue: ReviewQueue) -> None:
    frame = Frame("camera", b"", "jpeg", 1, 1)
    assert not queue.offer(Result("camera", predictions=UNSURE, frame=frame))
    assert not queue.offer(Result("camera", frame=frame, features=np.ones(3, np.float32)))
