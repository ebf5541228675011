"""Labels as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.models.entry import ModelError
from incv3d.models.label_files import read_label_file
from incv3d.models.labels import Label, format_labels, read_labels

TENCH, GOLDFISH = Label(0, "n01440764", "tench, Tinca tinca"), Label(1, "n01443537", "goldfish")
PLAIN = [Label(0, "", "tench"), Label(1, "", "goldfish")]


def read(folder: Path, text: str | bytes, outputs: int = 2) -> list[Label]:
    path = folder / "labels"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_label_file(path, outputs)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("tench\ngoldfish\n", PLAIN),
        ("tench\r\ngoldfish\r\n\r\n", PLAIN),
        ("\ufefftench\ngoldfish", PLAIN),
        ("# my fish\ntench\ngoldfish\n", PLAIN),
        ("0 tench\n1 goldfish\n", PLAIN),
        ("1: goldfish\n0: tench\n", PLAIN),
        ("n01440764 tench, Tinca tinca\nn01443537 goldfish\n", [TENCH, GOLDFISH]),
        ("n01440764\ttench, Tinca tinca\nn01443537\tgoldfish\n", [TENCH, GOLDFISH]),
        ("1\tn01443537\tgoldfish\n0\tn01440764\ttench, Tinca tinca\n", [TENCH, GOLDFISH]),
        ('["tench", "goldfish"]', PLAIN),
        ('{"tench": 0, "goldfish": 1}', PLAIN),
        ('{"1": "goldfish", "0": "tench"}', PLAIN),
        (
            '{"0": ["n01440764", "tench, Tinca tinca"], "1": ["n01443537", "goldfish"]}',
            [TENCH, GOLDFISH],
        ),
    ],
)
def test_every_usual_form_is_read(tmp_path: Path, text: str, labels: list[Label]) -> None:
    assert read(tmp_path, text) == labels


def test_lines_that_only_look_numbered_are_names(tmp_path: Path) -> None:
    assert read(tmp_path, "5 cents\n10 cents\n") == [Label(0, "", "5 cents"), Label(1, "", "10 cents")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no labels in it"),
        ("  \n\n", "no labels in it"),
        ("tench\n", "1 labels, the network has 2 outputs"),
        ("tench\ngoldfish\nshark\n", "3 labels, the network has 2 outputs"),
        ("tench\n\ngoldfish\n", r"labels:2: an empty line"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        ("[1, 2]", "`1` is no name"),
        ("[[], []]", "is no name"),
        ('{"a": "tench", "b": "goldfish"}', "expected a list, or an object"),
        ('{"0": "tench", "2": "goldfish"}', "no label for output 1"),
        ('{"tench": 0, "goldfish": 0}', "no label for output 1"),
        ("[", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("0\tn01440764\ttench\n0\tn01443537\tgoldfish\n", "no label for output 1"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        read(tmp_path, text)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_label_file(tmp_path / "gone", 2)
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read_label_file(tmp_path, 2)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelError, match="larger than"):
        read_label_file(tmp_path / "huge", 2)


@given(st.text(max_size=200))
def test_any_text_is_labels_or_a_model_error_and_survives_the_store(tmp_path_factory, text: str) -> None:
    folder = tmp_path_factory.mktemp("text", numbered=True)
    try:
        labels = read(folder, text.encode("utf-8", "replace"), outputs=2)
    except ModelError as error:
        assert str(error)
        return
    (folder / "labels.tsv").write_text(format_labels(labels), "utf-8")
    stored = read_labels(folder / "labels.tsv", 2)
    assert [stored[index] for index in range(2)] == labels
