"""What the outputs mean."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from incv3d.models.entry import ModelError
from incv3d.models.labels import FEW, Label, Labels, format_labels, read_labels

THREE = [Label(0, "n0", "zero, nought"), Label(1, "n1", "one"), Label(3, "", "three")]


def test_the_best_come_first_and_among_equals_the_lower_index() -> None:
    labels = Labels(THREE, 4)
    top = labels.top_k(np.array([0.25, 0.1, 0.4, 0.25], np.float32), 3)
    assert [(p.index, p.synset, p.label, p.score) for p in top] == [
        (2, "", "class 2", 0.4),
        (0, "n0", "zero", 0.25),
        (3, "", "three", 0.25),
    ]


def test_more_than_there_are_is_all_of_them() -> None:
    assert len(Labels(THREE, 4).top_k(np.zeros(4, np.float32), 1000)) == 4


def test_a_pattern_names_outputs_by_any_of_their_names() -> None:
    labels = Labels(THREE, 4)
    assert labels.matching("Nought") == (0,) and labels.matching("n?") == (0, 1)
    assert labels.matching("*o*") == (0, 1) and labels.matching("class*") == (2,)
    assert labels.matching("non") == () == labels.matching("")
    assert labels.closest("thre") == ["three"] and labels.closest("xyz") == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_no_predictions(bad: float) -> None:
    with pytest.raises(ModelError, match="not numbers"):
        Labels(THREE, 4).top_k(np.array([0, 0, bad, 0], np.float32), 1)


def test_scores_and_labels_must_be_as_many() -> None:
    with pytest.raises(ModelError, match="returned 3 scores for 4 labels"):
        Labels(THREE, 4).top_k(np.zeros(3, np.float32), 1)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("# comment\n\n" + format_labels(THREE))
    labels = read_labels(path, 4)
    assert [labels[i] for i in (0, 1, 3)] == THREE and labels[2].name == "class 2" and len(labels) == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0\tn0\n", r":1: expected index, synset and names"),
        ("# c\nx\tn0\tzero\n", r":2: expected index"),
        ("-1\tn0\tzero\n", r":1: expected index"),
        ("4\tn0\tfour\n", r":1: index 4: the network has 4 outputs"),
        ("1\tn0\ta\n1\tn0\tb\n", r":2: index 1: given twice"),
        ("", r": contains no labels"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(ModelError, match=re.escape(str(path)) + complaint):
        read_labels(path, 4)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_labels(tmp_path / "gone", 4)
    (tmp_path / "latin").write_bytes(b"0\tn0\t\xff\n")
    with pytest.raises(ModelError, match="not UTF-8"):
        read_labels(tmp_path / "latin", 4)


def test_the_bundled_labels_are_the_thousand_classes_in_the_order_of_their_synsets() -> None:
    with resources.as_file(resources.files("incv3d.models") / "data/imagenet-1k.tsv") as path:
        labels = read_labels(path, 1000)
    synsets = [labels[index].synset for index in range(1000)]
    assert synsets == sorted(set(synsets)) and len(set(synsets)) == 1000
    assert (labels[0].name, labels[388].name, labels[999].name) == ("tench", "giant panda", "toilet tissue")


def test_few_and_many_of_the_best_are_the_same_ones() -> None:
    scores = np.random.default_rng(7).integers(0, 50, 1000).astype(np.float32)  # with many equals
    labels = Labels([], 1000)
    every = labels.top_k(scores, 1000)
    for k in (1, 5, FEW, FEW + 1):
        assert labels.top_k(scores, k) == every[:k]
