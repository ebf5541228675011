"""A head and its report, from features."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from incv3d.models.entry import ModelError
from incv3d.models.taught.head import UNKNOWN
from incv3d.teaching.errors import UnusableSet
from incv3d.teaching.examples import Example
from incv3d.teaching.report import Report
from incv3d.teaching.report_text import report_lines
from incv3d.teaching.training import train
from taught_pictures import LENGTH, pictures


def share_right(head, examples: list[Example]) -> float:
    return float(np.mean([head.classes[head.predict(e.features)[0].argmax()] == e.label for e in examples]))


def test_a_head_knows_new_pictures_of_its_classes_as_well_as_its_report_says() -> None:
    within = 0
    for seed in range(10):
        trained = train(pictures([40, 40, 40], apart=0.25, seed=seed))
        truth = share_right(trained.head, pictures([300, 300, 300], apart=0.25, seed=1000 + seed))
        accuracy = trained.report.accuracy
        assert accuracy and accuracy.value > 0.6
        within += accuracy.low <= truth <= accuracy.high
    assert within >= 9


def test_the_estimate_leaves_out_whole_groups() -> None:
    """Groups that differ far more than their pictures: a split through them would promise nearly 100 %."""
    taught = pictures([120, 120], groups=[12, 12], apart=0.3, noise=0.6, group_noise=1.0)
    new = pictures([400, 400], groups=[200, 200], apart=0.3, noise=0.6, group_noise=1.0, seed=7)
    honest = train(taught)
    fooled = train([replace(each, origin=type(each.origin)()) for each in taught])
    truth = share_right(honest.head, new)
    assert honest.report.groups == 24 and fooled.report.groups == 240
    assert honest.report.accuracy and fooled.report.accuracy
    assert honest.report.accuracy.low <= truth <= honest.report.accuracy.high
    assert fooled.report.accuracy.low > truth
    assert honest.report.accuracy.high - honest.report.accuracy.low > 0.2


def test_strangers_are_unknown_and_a_twentieth_of_the_known() -> None:
    trained = train(pictures([60, 60], seed=1))
    random = np.random.default_rng(5)
    strangers = [np.abs(random.normal(size=LENGTH)).astype(np.float32) for _ in range(50)]
    assert all(trained.head.rank(each, 1)[0].label == UNKNOWN for each in strangers)
    assert train(pictures([60, 60], seed=1), strangers=strangers).report.strangers_refused == 1.0
    new = [trained.head.rank(each.features, 1)[0].label for each in pictures([300, 300], seed=2)]
    assert 0.01 < np.mean([label == UNKNOWN for label in new]) < 0.12


def test_pictures_in_the_wrong_folder_are_named_first() -> None:
    right = pictures([50, 50], apart=0.8)
    wrong = [
        replace(each, label="ab"[each.label == "a"]) if at % 20 == 3 else each
        for at, each in enumerate(right)
    ]
    moved = {each.name for each, before in zip(wrong, right, strict=True) if each.label != before.label}
    suspects = train(wrong).report.suspects
    assert len(moved) == 5
    assert moved <= {each.name for each in suspects[:10]}
    assert all(each.label != each.looks_like for each in suspects)


def test_classes_that_cannot_be_told_apart_are_no_better_than_guessing() -> None:
    report = train(pictures([30, 30], apart=0.0)).report
    assert report.better_than_guessing is False
    assert not report.can_take_over
    assert "It is not better than guessing." in report_lines(report)


def test_with_few_groups_nothing_is_promised() -> None:
    report = train(pictures([30, 30], groups=[3, 3])).report
    assert report.better_than_guessing is None and report.can_take_over
    assert any("rough" in line for line in report_lines(report))


def test_a_class_with_one_group_cannot_be_judged() -> None:
    report = train(pictures([30, 30, 30], groups=[1, 6, 6])).report
    assert [each.recall is None for each in report.classes] == [True, False, False]
    assert report.mean_recall is None
    assert report.accuracy and report.accuracy.images == 60
    assert any(line.endswith("without a, of which there is only one group") for line in report_lines(report))
    alone = train(pictures([30, 30], groups=[1, 1]))
    assert alone.report.accuracy is None
    assert share_right(alone.head, pictures([50, 50], groups=[1, 1], seed=3)) > 0.9
    assert any("not known" in line for line in report_lines(alone.report))


def test_one_class_with_three_pictures_and_another_with_four_hundred() -> None:
    trained = train(pictures([400, 3]))
    assert trained.report.imbalance > 100
    assert share_right(trained.head, pictures([50, 50], seed=4)) > 0.8
    assert any("133 times as many" in line for line in report_lines(trained.report))


def test_two_pictures_of_two_classes_are_enough_for_a_head() -> None:
    trained = train(pictures([1, 1]))
    assert trained.report.accuracy is None
    assert trained.golden and trained.head.rank(trained.golden.features, 1)[0].label == trained.golden.label


def test_the_accuracy_grows_with_the_pictures() -> None:
    points = train(pictures([200, 200, 200, 200], apart=0.3)).report.learning
    assert [each.share for each in points] == [0.25, 0.5, 1.0]
    assert [each.images for each in points] == [200, 400, 800]
    assert points[0].accuracy < points[-1].accuracy


def test_the_golden_picture_gets_its_class() -> None:
    trained = train(pictures([20, 20, 20]))
    assert trained.golden
    assert trained.head.rank(trained.golden.features, 1)[0].label == trained.golden.label


def test_the_same_pictures_give_the_same_head() -> None:
    first, second = (train(pictures([15, 25])) for _ in range(2))
    assert np.array_equal(first.head.weights, second.head.weights)
    assert first.head.threshold == second.head.threshold


def test_a_new_head_is_compared_with_the_one_before_on_the_pictures_of_both() -> None:
    good = pictures([60, 60], apart=0.8)
    before = train(good).report
    more = train([*good, *pictures([30, 30], apart=0.8, seed=9)], before=before).report
    assert more.comparison and more.comparison.images == 120 and not more.comparison.is_worse
    spoiled = [replace(each, label="a") for each in pictures([0, 400], apart=0.8, seed=11)]
    worse = train([*good, *spoiled], before=before).report
    assert worse.comparison and worse.comparison.is_worse and not worse.can_take_over
    assert any("worse than the head before" in line for line in report_lines(worse))


def test_test_pictures_are_judged_by_the_head_that_never_saw_them() -> None:
    report = train(pictures([40, 40]), tests=pictures([25, 30], seed=8)).report
    assert report.test and report.test.accuracy.images == 55
    assert [sum(row) for row in report.test.matrix] == [25, 30]


def test_a_report_survives_the_disk() -> None:
    report = train(pictures([20, 20], groups=[6, 6])).report
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "no pictures"),
        (pictures([10]), "only one class, `a`"),
        (
            [*pictures([2, 2]), replace(pictures([1])[0], features=np.ones(3, np.float32))],
            "different lengths",
        ),
        ([replace(each, features=each.features * np.nan) for each in pictures([2, 2])], "not numbers"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(examples: list[Example], message: str) -> None:
    with pytest.raises(UnusableSet, match=message):
        train(examples)


def test_no_class_can_be_called_unknown() -> None:
    with pytest.raises(ModelError, match="cannot be called `Unknown`"):
        train([replace(each, label="Unknown") if each.label == "a" else each for each in pictures([3, 3])])


def test_test_pictures_of_another_class_are_refused() -> None:
    with pytest.raises(UnusableSet, match="`c` is not a class"):
        train(pictures([5, 5]), tests=pictures([0, 0, 4]))
