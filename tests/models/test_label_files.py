"""Labels as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.models.entry import ModelError
from incv3d.models.label_files import read_label_file
from incv3d.models.labels import Label, Labels, format_labels, read_labels

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


PLANTS = ["Pepper,_bell___Bacterial_spot", "Pepper,_bell___healthy", "Tomato___healthy"]
FORMS: dict[str, list[str]] = {
    "\n".join(PLANTS): PLANTS,
    "".join(f"{number},{name}\n" for number, name in enumerate(PLANTS)): PLANTS,
    '0,"Pepper, bell"\n1,Tomato\n2,"the ""best"""\n': ["Pepper, bell", "Tomato", 'the "best"'],
    "0 - cat\n1 - dog\n2 - bird\n": ["cat", "dog", "bird"],
    "0: cat\n1: dog\n2: bird\n": ["cat", "dog", "bird"],
    "0:cat\n1:dog\n2:bird\n": ["cat", "dog", "bird"],
    "0. cat\n1. dog\n2. bird\n": ["cat", "dog", "bird"],
    "2\tcat\n0\tdog\n1\tbird\n": ["dog", "bird", "cat"],
    "cat,0\ndog,2\nbird,1\n": ["cat", "bird", "dog"],
    "cat: 0\ndog: 2\nbird: 1\n": ["cat", "bird", "dog"],
    '0 "Class A"\n1 "Class B"\n2 "Class C"\n': ["Class A", "Class B", "Class C"],
    "'a'\n'b'\n'c'\n": ["a", "b", "c"],
    '"a"\n"b"\nc\n': ['"a"', '"b"', "c"],
    "0 ripe tomato\r\n1 unripe tomato\r\n2 blue sky\r\n\r\n": ["ripe tomato", "unripe tomato", "blue sky"],
    "7 up\n2 cm crack\n1 cm crack\n": ["7 up", "2 cm crack", "1 cm crack"],
    "0 cm crack\n1 cm crack\n2 cm crack\n": ["0 cm crack", "1 cm crack", "2 cm crack"],
    "0.5 mm\n1.5 mm\n2.0 mm\n": ["0.5 mm", "1.5 mm", "2.0 mm"],
    "0,5 mm\n1,2 mm\n2,0 mm\n": ["0,5 mm", "1,2 mm", "2,0 mm"],
    "0:30\n1:00\n2:30\n": ["0:30", "1:00", "2:30"],
    "0-60 mph\n1-60 mph\n2-60 mph\n": ["0-60 mph", "1-60 mph", "2-60 mph"],
    "0\n1\n2\n": ["0", "1", "2"],
    "1 cat\n2 dog\n3 bird\n": ["1 cat", "2 dog", "3 bird"],
    "Raum: Küche\non/off\nit's 5 o'clock\n": ["Raum: Küche", "on/off", "it's 5 o'clock"],
    "#2 pencil\nключ\n猫\n": ["#2 pencil", "ключ", "猫"],
    "[none]\n{x\n[1 y\n": ["[none]", "{x", "[1 y"],
    "no\nyes\nnumber\n": ["no", "yes", "number"],
    "background\n0 dots\n1 dot\n": ["background", "0 dots", "1 dot"],
    '{"b, c": 1, "a: d": 0, "0 e": 2}': ["a: d", "b, c", "0 e"],
    '{"0": 0, "2": 2, "1": 1}': ["0", "1", "2"],
}


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_label_is_the_whole_line_without_what_only_counts_or_quotes_it(tmp_path, text, encoding) -> None:
    labels = read(tmp_path, text.encode(encoding), outputs=3)
    assert labels == [Label(index, "", name) for index, name in enumerate(FORMS[text])]
    (tmp_path / "labels.tsv").write_text(format_labels(labels), "utf-8")
    stored = read_labels(tmp_path / "labels.tsv", 3)
    assert [stored[index].name for index in range(3)] == FORMS[text]
    for index, name in enumerate(FORMS[text]):
        assert stored.matching(name) == (index,)


@pytest.mark.parametrize(
    "header", ["index,label", "id;name", "label", "Class Name", "index\tlabel", "names:"]
)
def test_a_header_is_refused_with_its_line(tmp_path: Path, header: str) -> None:
    rows = {
        ",": "0,cat\n1,dog\n", ";": "0;cat\n1;dog\n", "\t": "0\tcat\n1\tdog\n", ":": "  0: cat\n  1: dog\n"
    }  # fmt: skip
    lines = next((rows[each] for each in rows if each in header), "cat\ndog\n")
    with pytest.raises(ModelError, match=rf"labels:1: `{header}` is a header, not a label; remove the line"):
        read(tmp_path, f"{header}\n{lines}")


def test_what_comes_before_numbered_lines_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="labels:1: `my classes` is a header"):
        read(tmp_path, "my classes\n0 cat\n1 dog\n")


def test_a_label_that_comes_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    for text in ("cat\ndog\ncat\n", "0: cat\n1: dog\n2: cat\n", "cat\ndog\n cat \n"):
        with pytest.raises(ModelError, match="labels:3: `cat` is already the label on line 1"):
            read(tmp_path, text, outputs=3)
    with pytest.raises(ModelError, match="`cat` is the label of the outputs 0 and 2"):
        read(tmp_path, '["cat", "dog", "cat"]', outputs=3)


def test_imagenets_two_cranes_are_no_mistake(tmp_path: Path) -> None:
    names = [f"bird {number}" for number in range(998)] + ["crane", "crane"]
    assert [label.name for label in read(tmp_path, "\n".join(names), outputs=1000)] == names
    with pytest.raises(ModelError, match="`crane` is already the label on line 2"):
        read(tmp_path, "bird\ncrane\ncrane\n", outputs=3)


def test_a_network_of_one_output_needs_two_labels_or_the_name_of_one(tmp_path: Path) -> None:
    both = [Label(0, "", "cat"), Label(1, "", "dog")]
    for text in ("cat\ndog\n", '{"dog": 1, "cat": 0}', "1 dog\n0 cat\n"):
        assert read(tmp_path, text, outputs=1) == both
    assert read(tmp_path, "dog\n", outputs=1) == [Label(0, "", "not dog"), Label(1, "", "dog")]
    with pytest.raises(ModelError, match="3 labels for a network with one output; it needs two"):
        read(tmp_path, "cat\ndog\nbird\n", outputs=1)
    with pytest.raises(ModelError, match="labels:1: `label` is a header"):
        read(tmp_path, "label\ndog\n", outputs=1)


def test_only_a_class_with_a_synset_has_several_names() -> None:
    assert TENCH.name == "tench" and TENCH.all_names == ("tench", "Tinca tinca", "n01440764")
    pepper = Label(0, "", PLANTS[1])
    assert pepper.name == PLANTS[1] and pepper.all_names == (PLANTS[1],)


def test_a_name_that_looks_like_a_pattern_names_itself(tmp_path: Path) -> None:
    labels = Labels([Label(0, "", "night [cloudy]"), Label(1, "", "night*"), Label(2, "", "night c")], 3)
    assert labels.matching("Night  [cloudy]") == (0,)
    assert labels.matching("night*") == (1,)
    assert labels.matching("n*") == (0, 1, 2)
    assert Labels([Label(0, "", PLANTS[1])], 1).closest("Pepper,_bell___helthy") == [PLANTS[1]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "contains no labels"),
        ("  \n\n", "contains no labels"),
        ("# labels of fish\ntench\n", "1 labels for a network with 2 outputs"),
        ("tench\n", "1 labels for a network with 2 outputs"),
        ("tench\ngoldfish\nshark\n", "3 labels for a network with 2 outputs"),
        ("tench\n\ngoldfish\n", r"labels:2: empty line"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        ("tench\ngoldfish".encode("utf-16-le"), r"labels:1: not plain text \(character 0x00\)"),
        ("tench\n\x1b[31mgoldfish\n", r"labels:2: not plain text \(character 0x1b\)"),
        ("Küche\nBär\n".encode("latin-1"), r"labels:1: not UTF-8 text \(byte 1\); save it as UTF-8"),
        ('0:""\n1:""\n', 'labels:1: `0:""` has no name'),
        ('{"%s": "tench", "1": "x"}' % ("9" * 5000), "expected a list, or an object"),
        ("%s tench\n1 x\n3 y\n" % ("9" * 5000), "3 labels for a network with 2 outputs"),
        ("{0: 'tench', 1: 'goldfish'}", "not valid JSON"),
        ('{"tench": true, "goldfish": false}', "expected a list, or an object"),
        ("[1, 2]", "`1` is not a name"),
        ("[[], []]", "is not a name"),
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
