"""A head: the owner's classes, and ``unknown``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads import axes, head_of
from incv3d.models.entry import ModelError
from incv3d.models.taught.head import MAX_GALLERY, UNKNOWN, Head, check_class, familiarity, read_head

CLASSES = ("empty", "full")


def head(threshold: float = 0.5) -> Head:
    return head_of(CLASSES, axes(), threshold)


def test_what_was_taught_gets_its_class_whatever_its_length() -> None:
    for index, name in enumerate(CLASSES):
        for length in (0.01, 1, 300):
            best, other = head().rank(axes()[index] * np.float32(length), 5)
            assert (best.index, best.label, best.synset) == (index, name, "") and best.score > 0.99
            assert other.label == CLASSES[1 - index] and best.score + other.score == pytest.approx(1)


def test_what_resembles_nothing_taught_is_unknown_first() -> None:
    stranger = axes(3)[2]
    ranked = head().rank(stranger, 5)
    assert [each.label for each in ranked] == [UNKNOWN, "empty", "full"]
    assert ranked[0].index == 2 and ranked[0].score > 0.99
    assert sum(each.score for each in ranked) == pytest.approx(1)


def test_unknown_is_first_on_either_side_of_the_threshold_or_not_there_at_all() -> None:
    features = axes(3)[0] + axes(3)[2]
    familiar = head().predict(features)[1]
    for below in (1e-9, 1e-3):
        first, second, *_ = head(familiar + below).rank(features, 3)
        assert first.label == UNKNOWN and first.score >= 0.5 >= second.score
    assert UNKNOWN not in [each.label for each in head(familiar - 1e-6).rank(features, 3)]


def test_the_best_k_are_returned_in_order_and_equal_ones_by_index() -> None:
    many = head_of("abcdef", axes(6), threshold=-1)
    assert [each.label for each in many.rank(axes(6)[3], 1)] == ["d"]
    assert [each.label for each in many.rank(axes(6)[3], 9)] == ["d", "a", "b", "c", "e", "f"]


def test_familiarity_is_that_of_the_five_nearest() -> None:
    assert familiarity(np.array([0, 1, 1, 1, 1, 0.5, -1], np.float32)) == pytest.approx(0.9)
    assert familiarity(np.array([0.5, 1], np.float32)) == pytest.approx(0.75)


def test_features_that_do_not_fit_or_are_no_numbers_are_errors() -> None:
    with pytest.raises(ModelError, match="8 features for a head of 16"):
        head().predict(np.zeros(8, np.float32))
    with pytest.raises(ModelError, match="not numbers"):
        head().predict(np.full(16, np.nan, np.float32))
    assert head().rank(np.zeros(16, np.float32), 1)[0].label == UNKNOWN


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = head_of(("Ölfass", "voll 満"), axes(), 0.25, 0.125)
    (tmp_path / "head.npz").write_bytes(written.to_bytes())
    read = read_head(tmp_path / "head.npz")
    assert (read.classes, read.threshold, read.spread) == (written.classes, 0.25, 0.125)
    for name in ("center", "weights", "bias", "gallery"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
        assert getattr(read, name).dtype == np.float32


def test_any_changed_byte_of_the_arrays_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    content = head().to_bytes()
    for where in (0, len(content) // 3, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:where] + bytes([content[where] ^ 0xFF]) + content[where + 1 :])
        with pytest.raises(ModelError, match=r"head\.npz: damaged") as caught:
            read_head(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00", b"x" * 1000])
def test_a_file_that_is_no_head_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"head\.npz: damaged"):
        read_head(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"head\.npz: cannot be read: No such file"):
        read_head(tmp_path / "head.npz")


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    whole = head()
    for wrong in ("center", "bias", "gallery", "weights"):
        given = {name: getattr(whole, name) for name in ("center", "weights", "bias", "gallery")}
        given[wrong] = given[wrong][..., :-1]
        with pytest.raises(ModelError, match="has the shape"):
            Head(CLASSES, **given, threshold=0.5, spread=0.1)
    with pytest.raises(ModelError, match="spread"):
        head_of(CLASSES, axes(), spread=0)
    with pytest.raises(ModelError, match="not finite"):
        head_of(CLASSES, axes(), threshold=float("nan"))
    with pytest.raises(ModelError, match="1001 pictures"):
        Head(
            CLASSES, whole.center, whole.weights, whole.bias, np.ones((MAX_GALLERY + 1, 16), np.float32), 0, 1
        )


@pytest.mark.parametrize("name", ["unknown", "Unknown", "", " a", "a/b", ".a", "a\tb", "a\n", "x" * 101])
def test_names_that_no_class_can_have_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be"):
        check_class(name)


def test_a_head_has_two_different_classes_or_more() -> None:
    with pytest.raises(ModelError, match="two classes or more"):
        head_of(["cat"], axes(1))
    with pytest.raises(ModelError, match="the same name"):
        head_of(["cat", "Cat"], axes())
