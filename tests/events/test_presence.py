"""What comes and what goes, frame by frame."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.events.presence import PresenceTracker, Threshold
from incv3d.frames import Prediction, Result

PANDA, CAT = 388, 285
NAMES = {PANDA: "giant panda", CAT: "Egyptian cat"}
HALF = Threshold(0.5, 0.3)


def result(source: str = "camera", **scores: float) -> Result:
    indices = {"panda": PANDA, "cat": CAT}
    predictions = [
        Prediction(indices[name], f"n{indices[name]}", NAMES[indices[name]], score)
        for name, score in scores.items()
    ]
    return Result(source, predictions=tuple(sorted(predictions, key=lambda each: -each.score)))


def happenings(scores: list[float], frames: int = 5, needed: int = 3) -> list[tuple[int, str]]:
    """The number of the frame, from 1, at which something happens, and what."""
    sightings = PresenceTracker({PANDA: HALF}, frames, needed)
    found = []
    for number, score in enumerate(scores, 1):
        told = sightings.observe(result(panda=score), float(number), float(number))
        found += [(number, sighting.happening) for sighting in told]
    return found


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.9], []),
        ([0.9, 0.9, 0.9], [(3, "entered")]),
        ([0.9, 0.1, 0.9, 0.1, 0.9], [(5, "entered")]),
        ([0.9, 0.1, 0.1, 0.9, 0.1, 0.9], []),  # the first is out of the window by then
        ([0.4] * 20, []),  # what is enough to stay is not enough to enter
        ([0.5] * 3 + [0.3] * 20, [(3, "entered")]),  # and is enough to stay
        ([0.9] * 3 + [0.29] * 5, [(3, "entered"), (8, "left")]),
        ([0.9] * 3 + [0.0] * 4 + [0.3] + [0.0] * 5, [(3, "entered"), (13, "left")]),
        ([0.9] * 3 + [0.0] * 5 + [0.9] * 2, [(3, "entered"), (8, "left")]),
        ([0.9] * 3 + [0.0] * 5 + [0.9] * 3, [(3, "entered"), (8, "left"), (11, "entered")]),
        ([0.51, 0.49] * 50, [(5, "entered")]),
        ([0.9, 0.0] * 50, [(5, "entered")]),
    ],
)
def test_it_enters_when_enough_frames_have_it_and_leaves_when_none_has(scores, expected) -> None:
    assert happenings(scores) == expected


def test_one_frame_is_enough_where_one_is_needed() -> None:
    assert happenings([0.9, 0.1, 0.9], frames=1, needed=1) == [(1, "entered"), (2, "left"), (3, "entered")]


@given(
    st.lists(st.sampled_from([0.0, 0.29, 0.3, 0.4, 0.49, 0.5, 0.9]), max_size=60),
    st.integers(1, 8).flatmap(lambda frames: st.tuples(st.just(frames), st.integers(1, frames))),
)
def test_events_are_those_of_the_definition(scores: list[float], window: tuple[int, int]) -> None:
    frames, needed = window
    expected = []
    present, since = False, 0
    for number in range(1, len(scores) + 1):
        # What came before it last left plays no part: all of that was below what it takes to stay.
        last = scores[max(since, number - frames) : number]
        if not present and sum(score >= 0.5 for score in last) >= needed:
            present = True
            expected.append((number, "entered"))
        elif present and len(scores[:number]) >= frames and all(score < 0.3 for score in last):
            present, since = False, number
            expected.append((number, "left"))
    assert happenings(scores, frames, needed) == expected


@given(st.lists(st.floats(0.42, 0.58), max_size=200), st.integers(2, 8))
def test_a_score_that_flickers_around_the_threshold_makes_one_event_at_most(scores, needed) -> None:
    assert happenings(scores, frames=8, needed=needed) in ([], *([(n, "entered")] for n in range(1, 201)))


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(1, 6), st.integers(0, 4))
def test_events_alternate_and_are_never_close_together(scores, needed, more) -> None:
    frames = needed + more
    found = happenings(scores, frames, needed)
    assert [what for _, what in found] == (["entered", "left"] * len(found))[: len(found)]
    for (before, _), (after, what) in itertools.pairwise(found):
        assert after - before >= (frames if what == "left" else needed)


def test_an_event_says_what_who_when_and_for_how_long() -> None:
    sightings = PresenceTracker({PANDA: HALF}, frames=4, needed=2)
    assert sightings.observe(result(panda=0.6), 10.0, 10.1) == []
    (entered,) = sightings.observe(result(panda=0.8), 12.0, 12.1)
    assert (entered.happening, entered.source, entered.prediction.label) == (
        "entered",
        "camera",
        "giant panda",
    )
    assert (entered.at, entered.frames, entered.best, entered.reason) == (12.0, 2, 0.8, None)
    assert entered.prediction.score == 0.8
    assert [(each.source, each.prediction.score, each.since) for each in sightings.present] == [
        ("camera", 0.8, 10.0)
    ]
    sightings.observe(result(panda=0.9), 14.0, 14.1)
    sightings.observe(result(panda=0.4), 16.0, 16.1)
    left = [each for at in range(18, 28, 2) for each in sightings.observe(result(), at, at)]
    assert [(each.happening, each.at, each.frames) for each in left] == [("left", 24.0, 4)]
    assert (left[0].duration_s, left[0].best, left[0].prediction.score) == (6.0, 0.9, 0.4)
    assert left[0].reason == "unseen" and not sightings.present


def test_every_source_and_every_label_is_counted_by_itself() -> None:
    sightings = PresenceTracker({PANDA: HALF, CAT: Threshold(0.2, 0.1)}, frames=2, needed=2)
    found = []
    for at in range(3):
        found += sightings.observe(result("yard", panda=0.6, cat=0.25), at, at)
        found += sightings.observe(result("porch", panda=0.3 * (at == 0), cat=0.25 * (at > 0)), at, at)
    assert [(each.source, each.prediction.index, each.at) for each in found] == [
        ("yard", PANDA, 1),
        ("yard", CAT, 1),
        ("porch", CAT, 2),
    ]


def test_one_may_leave_in_the_frame_in_which_another_enters_and_is_told_of_first() -> None:
    sightings = PresenceTracker({PANDA: HALF, CAT: HALF}, frames=1, needed=1)
    sightings.observe(result(panda=0.9), 1, 1)
    told = sightings.observe(result(cat=0.9), 2, 2)
    assert [(each.happening, each.prediction.index) for each in told] == [("left", PANDA), ("entered", CAT)]


def test_a_label_that_is_not_watched_or_not_among_the_best_counts_as_not_seen() -> None:
    sightings = PresenceTracker({PANDA: HALF}, frames=2, needed=1)
    assert not sightings.observe(result(cat=1.0), 1, 1)
    assert [each.happening for each in sightings.observe(result(panda=0.9), 2, 2)] == ["entered"]
    assert not sightings.observe(result(cat=1.0), 3, 3)
    assert [each.happening for each in sightings.observe(result(cat=1.0), 4, 4)] == ["left"]


def test_matches_are_what_this_frame_alone_has() -> None:
    sightings = PresenceTracker({PANDA: HALF, CAT: Threshold(0.2, 0.1)}, frames=5, needed=3)
    found = sightings.matches(result(panda=0.49, cat=0.2))
    assert [each.index for each in found] == [CAT]


def test_a_source_that_ends_is_left_by_all_that_was_there() -> None:
    sightings = PresenceTracker({PANDA: HALF, CAT: HALF}, frames=2, needed=1)
    for source in ("yard", "porch"):
        sightings.observe(result(source, panda=0.9, cat=0.6), 1, 1)
    told = sightings.end("yard", 5.0, "ended")
    assert [(each.prediction.index, each.at, each.reason) for each in told] == [
        (PANDA, 5.0, "ended"),
        (CAT, 5.0, "ended"),
    ]
    assert {each.source for each in sightings.present} == {"porch"}
    assert sightings.end("yard", 6.0, "ended") == [] and sightings.end("nobody", 6.0, "ended") == []


def test_what_is_before_a_source_without_frames_leaves_after_a_while() -> None:
    sightings = PresenceTracker({PANDA: HALF}, frames=2, needed=1)
    sightings.observe(result(panda=0.9), captured=-1e6, now=1.0)  # a sender whose clock is far behind
    assert sightings.end_silent(30.9, silence_s=lambda source: 30) == []
    (left,) = sightings.end_silent(31.0, silence_s=lambda source: 30)
    assert (left.reason, left.at) == ("silent", 31.0)
    assert sightings.end_silent(99.0, silence_s=lambda source: 30) == []
    assert [each.happening for each in sightings.observe(result(panda=0.9), 100, 100)] == ["entered"]


def test_labels_that_came_and_went_hold_no_memory() -> None:
    sightings = PresenceTracker(dict.fromkeys(range(1000), HALF), frames=3, needed=3)
    for at in range(3000):
        prediction = Prediction(at % 1000, "", "x", 0.9)
        sightings.observe(Result("camera", predictions=(prediction,)), at, at)
    assert len(sightings._sources["camera"].tracks) <= 3
