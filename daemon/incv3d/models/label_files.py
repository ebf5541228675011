"""Labels as people have them: lines, numbered lines, synset lines, JSON. All become :class:`Label`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from incv3d.models.entry import ModelError
from incv3d.models.labels import Label

LARGEST = 16 << 20
SYNSET_LINE = re.compile(r"(n\d{8})[\s:,]+(\S.*)")
"""``n01440764 tench, Tinca tinca``."""
NUMBERED_LINE = re.compile(r"(\d+)(?:\s*[:,]\s*|\s+)(\S.*)")
"""``0 tench`` or ``0: tench``."""
OWN_LINE = re.compile(r"(\d+)\t([^\t]*)\t([^\t]+)")
"""``449<TAB>n01440764<TAB>tench, Tinca tinca``, as the store keeps them."""


def read_label_file(path: Path, outputs: int) -> list[Label]:
    """The labels in the file at `path`, one for each of the network's `outputs`.

    A file is one of: a name a line, in the order of the outputs; such lines with the synset or with the
    output's number before the name; lines of number, synset and names between tabs; a JSON list of names or
    of ``[synset, name]``; a JSON object from number to either of these, or from name to number.

    :raises ModelError: when it is none of these, or does not name every output once.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError(f"{path}: larger than {LARGEST} bytes, not a file of labels")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise ModelError(f"{path}: no labels in it")
    labels = _from_json(path, text) if text.lstrip()[0] in "[{" else _from_lines(path, text)
    _check_complete(path, labels, outputs)
    return sorted(labels, key=lambda label: label.index)


def _from_lines(path: Path, text: str) -> list[Label]:
    lines = []
    for number, line in enumerate(text.rstrip().splitlines(), 1):
        if not line.strip():
            raise ModelError(f"{path}:{number}: an empty line; every line must name one output")
        if not line.startswith("#"):
            lines.append(line.strip())
    if all(OWN_LINE.fullmatch(line) for line in lines):
        fields = [line.split("\t") for line in lines]
        return [Label(int(index), synset, names) for index, synset, names in fields]
    synsets = [SYNSET_LINE.fullmatch(line) for line in lines]
    if all(synsets):
        return [Label(index, match[1], match[2]) for index, match in enumerate(synsets) if match]
    numbered = [NUMBERED_LINE.fullmatch(line) for line in lines]
    if all(numbered) and {int(match[1]) for match in numbered if match} == set(range(len(lines))):
        return [Label(int(match[1]), "", match[2]) for match in numbered if match]
    return [_label(index, line) for index, line in enumerate(lines)]


def _from_json(path: Path, text: str) -> list[Label]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from None
    if isinstance(found, list):
        pairs = list(enumerate(found))
    elif all(isinstance(value, int) for value in found.values()):
        pairs = [(index, name) for name, index in found.items()]
    elif all(key.isdecimal() for key in found):
        pairs = [(int(key), value) for key, value in found.items()]
    else:
        raise ModelError(f"{path}: expected a list, or an object from number to name or from name to number")
    return [_label(index, _words(path, value)) for index, value in pairs]


def _words(path: Path, value: Any) -> str:
    """A name, or ``[synset, name]``, as one line."""
    words = value if isinstance(value, list) else [value]
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ModelError(f"{path}: `{value}` is no name")
    return " ".join(" ".join(words).split())


def _label(index: int, line: str) -> Label:
    synset = SYNSET_LINE.fullmatch(line)
    names = synset[2] if synset else line
    # Keras writes names with underscores; a tab would end the name in the store's own file.
    return Label(index, synset[1] if synset else "", " ".join(names.split()))


def _check_complete(path: Path, labels: Sequence[Label], outputs: int) -> None:
    if len(labels) != outputs:
        raise ModelError(f"{path}: {len(labels)} labels, the network has {outputs} outputs")
    indices = {label.index for label in labels}
    missing = next((index for index in range(outputs) if index not in indices), None)
    if missing is not None:
        raise ModelError(f"{path}: no label for output {missing}")
