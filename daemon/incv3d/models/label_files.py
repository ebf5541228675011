"""Read label files in the usual formats: lines, numbered lines, synset lines, JSON.

A label is the whole line, without parts that certainly do not belong to it: a number that counts the outputs,
or quotes around every name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from incv3d.models.entry import ModelError
from incv3d.models.labels import Label

LARGEST = 16 << 20
SYNSET_LINE = re.compile(r"(n\d{8})[\s:,]+(\S.*)")
"""``n01440764 tench, Tinca tinca``."""
OWN_LINE = re.compile(r"(\d{1,9})\t(n\d{8})?\t([^\t]+)")
"""``449<TAB>n01440764<TAB>tench, Tinca tinca``, the format of the store."""
NUMBERED_LINE = re.compile(r"(\d{1,9})(\s*[:;=|)]\s*|\s*,\s*|\s*[-–—.]\s+|\s+)(\S.*)")  # noqa: RUF001 - dashes
"""``0 tench``, ``0: tench``, ``0,tench``, ``0 - tench``, but neither ``0.5 mm`` nor ``0-60 mph``."""
NUMBER_LAST = re.compile(r"(\S.*?)(?:\s*[,;\t]\s*|\s*[:=]\s+)(\d{1,9})")
"""``tench,0`` or ``tench: 0``."""
JSON = re.compile(r"\{|\[\s*(?:[\]\[{\"'\d]|$)")
"""The beginning of a JSON list or object, but not of a label such as ``[none]``."""
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
"""Characters that are neither white space nor line ends; 0x1c to 0x1f count as white space."""
COLUMN = re.compile(r"(?:id|idx|index|no|nr|number|synset|(?:class|label|category)?[ _]?(?:id|index|names?)|"
                    r"class(?:es)?|labels?|category|categories|description)", re.IGNORECASE)  # fmt: skip
"""Names of columns in the header of a table."""
ONE_COLUMN = re.compile(r"(?:class|label|category)[ _]?names?|names?|class(?:es)?|labels?", re.IGNORECASE)
"""The header of a table of one column; ``no`` and ``number`` alone are labels."""
IMAGENET_OUTPUTS = 1000
TWICE_IN_IMAGENET = {"crane", "maillot"}
"""Names that ImageNet gives to two classes each."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that names an output."""

    number: int
    """Counted from 1, as editors do."""
    text: str


def read_label_file(path: Path, outputs: int) -> list[Label]:
    """Return the labels in the file at `path`, one per output of the network.

    A file has one of these formats: one name per line, in the order of the outputs; such lines with the
    synset, or with the output's number before or after the name; lines of number, synset and names, separated
    by tabs; a JSON list of names or of ``[synset, name]``; a JSON object from number to either of these, or
    from name to number.

    :param outputs: 1 for a network whose single output chooses between two labels. Then two labels are
        returned; the file may name only the second.
    :raises ModelError: the file has none of these formats, or does not name every output exactly once.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError(f"{path}: not a labels file: larger than {LARGEST} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_labels(str(path), data, outputs)


def parse_labels(where: str, data: bytes, outputs: int) -> list[Label]:
    """Return the labels in `data`, the content of a file as for :func:`read_label_file`.

    :param where: the name of the file, for messages.
    :raises ModelError: as for that function.
    """
    text = _decode(where, data)
    if not text.strip():
        raise ModelError(f"{where}: contains no labels")
    labels = (
        _from_json(where, text, outputs) if JSON.match(text.lstrip()) else _from_lines(where, text, outputs)
    )
    if outputs == 1:
        return _of_one_output(where, labels)
    _check_complete(where, labels, outputs)
    return sorted(labels, key=lambda label: label.index)


def _decode(where: str, data: bytes) -> str:
    # written by Windows' Notepad and PowerShell
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError:
            pass
        else:
            return _checked(where, text)
    try:
        return _checked(where, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ModelError(f"{where}:{line}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _checked(where: str, text: str) -> str:
    """Return `text` unless it has control characters.

    UTF-16 without a byte order mark would appear as letters with NULs between them; an escape could control a
    terminal.
    """
    found = CONTROL.search(text)
    if found is None:
        return text
    line = len(re.findall(r"\r\n|\n|\r", text[: found.start()])) + 1
    raise ModelError(f"{where}:{line}: not plain text (character {ord(found[0]):#04x}); save it as UTF-8")


def _from_lines(where: str, text: str, outputs: int) -> list[Label]:
    lines = _lines(where, text, outputs)
    own = [OWN_LINE.fullmatch(line.text) for line in lines]
    if all(own):
        return [Label(int(match[1]), match[2] or "", _tidy(match[3])) for match in own if match]
    synsets = [SYNSET_LINE.fullmatch(line.text) for line in lines]
    if all(synsets):
        return [Label(index, match[1], _tidy(match[2])) for index, match in enumerate(synsets) if match]
    _check_no_header(where, lines, outputs)
    numbered = _numbered(lines) or _numbered_last(lines)
    if numbered is None:
        numbered = list(enumerate(_unquoted([line.text for line in lines])))
    labels = [_label(index, name) for index, name in numbered]
    for line, label in zip(lines, labels, strict=True):
        if not label.names:
            raise ModelError(f"{where}:{line.number}: `{line.text}` has no name")
    _check_different(where, lines, labels, outputs)
    return labels


def _lines(where: str, text: str, outputs: int) -> list[Line]:
    """Return the lines without comments, and without empty lines at the end.

    A comment begins with ``#`` and a space. A label may begin with ``#2``: such lines are comments only if
    there are more lines than outputs.
    """
    lines = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.rstrip()), 1):
        if not line.strip():
            raise ModelError(f"{where}:{number}: empty line; every line must name one output")
        if not re.match(r"#(\s|$)", line.strip()):
            lines.append(Line(number, line.strip()))
    named = [line for line in lines if not line.text.startswith("#")]
    return lines if len(lines) == outputs or not named else named


def _numbered(lines: Sequence[Line]) -> list[tuple[int, str]] | None:
    """Return number and name of each line if the numbers before the names count the outputs, else None."""
    matches = [NUMBERED_LINE.fullmatch(line.text) for line in lines]
    found = [match for match in matches if match]
    if len(found) < len(lines) or {int(match[1]) for match in found} != set(range(len(lines))):
        return None
    # `0:30` is a time and `0,5 mm` a decimal.
    if any(match[2] in (":", ",") and match[3][0].isdecimal() for match in found):
        return None
    is_table = all(match[2].strip() in (",", ";") or "\t" in match[2] for match in found)
    names = _unquoted([match[3] for match in found], each_alone=is_table)
    # `0 cm crack` and `1 cm crack` would become the same label.
    if all(match[2].isspace() for match in found) and _first_repeated(names, len(names)) is not None:
        return None
    return [(int(match[1]), name) for match, name in zip(found, names, strict=True)]


def _numbered_last(lines: Sequence[Line]) -> list[tuple[int, str]] | None:
    """Return number and name of each line if the numbers after the names count the outputs, else None."""
    matches = [NUMBER_LAST.fullmatch(line.text) for line in lines]
    found = [match for match in matches if match]
    if len(found) < max(2, len(lines)) or {int(match[2]) for match in found} != set(range(len(lines))):
        return None
    names = _unquoted([match[1] for match in found], each_alone=True)
    if _first_repeated(names, len(names)) is not None:
        return None
    return [(int(match[2]), name) for match, name in zip(found, names, strict=True)]


def _unquoted(names: list[str], each_alone: bool = False) -> list[str]:
    """Return `names` without the quotes around them, if all are quoted.

    :param each_alone: remove quotes from single names, too: in CSV, only some names need them.
    """
    quoted = [len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" for name in names]
    if not all(quoted) and not each_alone:
        return names
    return [
        name[1:-1].replace(name[0] * 2, name[0]) if is_quoted and (all(quoted) or name[0] == '"') else name
        for name, is_quoted in zip(names, quoted, strict=True)
    ]


def _check_no_header(where: str, lines: Sequence[Line], outputs: int) -> None:
    """Raise ModelError if the first line is a header: as a label, it would shift all others."""
    first = lines[0]
    columns = [column.strip(" \"'") for column in re.split(r"[,;\t]", first.text)]
    is_header = (
        all(COLUMN.fullmatch(column) for column in columns)
        if len(columns) > 1
        else bool(ONE_COLUMN.fullmatch(columns[0]))
    )
    others = lines[1:]
    counts = bool(others) and len(others) == max(outputs, 1) and not NUMBERED_LINE.fullmatch(first.text)
    if is_header or (counts and (_numbered(others) or _numbered_last(others))):
        raise ModelError(f"{where}:{first.number}: `{first.text}` is a header, not a label; remove the line")


def _check_different(where: str, lines: Sequence[Line], labels: Sequence[Label], outputs: int) -> None:
    repeated = _first_repeated([label.names for label in labels if not label.synset], outputs)
    if repeated is None:
        return
    name, first = labels[repeated[1]].names, lines[repeated[0]].number
    raise ModelError(f"{where}:{lines[repeated[1]].number}: `{name}` is already the label on line {first}")


def _first_repeated(names: Sequence[str], outputs: int) -> tuple[int, int] | None:
    """Return the positions of the first repeated name."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name in places and not (outputs >= IMAGENET_OUTPUTS and name in TWICE_IN_IMAGENET):
            return places[name], place
        places.setdefault(name, place)
    return None


def _from_json(where: str, text: str, outputs: int) -> list[Label]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(f"{where}: not valid JSON: {error}") from None
    if isinstance(found, list):
        pairs = list(enumerate(found))
    elif all(isinstance(value, int) and not isinstance(value, bool) for value in found.values()):
        pairs = [(index, name) for name, index in found.items()]
    elif all(key.isdecimal() and len(key) < 10 for key in found):
        pairs = [(int(key), value) for key, value in found.items()]
    else:
        raise ModelError(f"{where}: expected a list, or an object from number to name or from name to number")
    labels = [_label(index, _words(where, value)) for index, value in pairs]
    repeated = _first_repeated(
        [label.names if not label.synset else label.synset for label in labels], outputs
    )
    if repeated is not None:
        both = " and ".join(str(labels[place].index) for place in repeated)
        raise ModelError(f"{where}: `{labels[repeated[0]].names}` is the label of the outputs {both}")
    return labels


def _words(where: str, value: Any) -> str:
    """Return a name or ``[synset, name]`` as one line."""
    words = value if isinstance(value, list) else [value]
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ModelError(f"{where}: `{value}` is not a name")
    return " ".join(words)


def _label(index: int, line: str) -> Label:
    synset = SYNSET_LINE.fullmatch(line)
    return Label(index, synset[1] if synset else "", _tidy(synset[2] if synset else line))


def _tidy(name: str) -> str:
    """Return `name` with single spaces; a tab would end it in the store's format."""
    return " ".join(name.split())


def _of_one_output(where: str, labels: list[Label]) -> list[Label]:
    """Return the labels for the scores 0 and 1."""
    if len(labels) == 1:
        named = labels[0]
        return [Label(0, "", f"not {named.name}"), Label(1, named.synset, named.names)]
    if len(labels) != 2:
        raise ModelError(
            f"{where}: {len(labels)} labels for a network with one output; it needs two, for 0 and for 1"
        )
    _check_complete(where, labels, 2)
    return sorted(labels, key=lambda label: label.index)


def _check_complete(where: str, labels: Sequence[Label], outputs: int) -> None:
    if len(labels) != outputs:
        raise ModelError(f"{where}: {len(labels)} labels for a network with {outputs} outputs")
    indices = {label.index for label in labels}
    missing = next((index for index in range(outputs) if index not in indices), None)
    if missing is not None:
        raise ModelError(f"{where}: no label for output {missing}")
