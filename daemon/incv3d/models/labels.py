"""What the outputs of a network mean: index, synset, names."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from incv3d.frames import Prediction
from incv3d.models.entry import ModelError

FEW = 16
"""So many of the best scores are searched for one by one; for more, all are sorted."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class."""

    index: int
    """The output of the network, counted from 0."""
    synset: str
    """Its WordNet id, ``n02510455``; empty where there is none."""
    names: str
    """Of a class of ImageNet, which has a synset: all its names, separated by commas, the usual one first.
    Of any other: its name, commas and all."""

    @property
    def name(self) -> str:
        """The first name."""
        return self.names.split(",")[0] if self.synset else self.names

    @property
    def all_names(self) -> tuple[str, ...]:
        """Everything that it goes by: each of its names, and the synset if it has one."""
        if not self.synset:
            return (self.names,)
        return (*(name.strip() for name in self.names.split(",")), self.synset)


class Labels:
    """The labels of all outputs.

    :param labels: in any order; an output without one is called ``class N``.
    :param outputs: how many outputs the network has.
    """

    def __init__(self, labels: Iterable[Label], outputs: int) -> None:
        known = {label.index: label for label in labels}
        self._labels = [known.get(index) or Label(index, "", f"class {index}") for index in range(outputs)]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Label:
        return self._labels[index]

    def top_k(self, scores: npt.NDArray[np.float32], k: int) -> tuple[Prediction, ...]:
        """The `k` best classes, best first, among equals the lower index first.

        :param scores: ``(outputs,) float32``.
        :raises ModelError: when the scores are not as many as the labels, or not numbers.
        """
        if len(scores) != len(self._labels):
            raise ModelError(f"the network gave {len(scores)} scores, there are {len(self._labels)} labels")
        # Not a number is both the least and the greatest.
        if not all(math.isfinite(scores.item(i)) for i in (scores.argmin(), scores.argmax())):
            raise ModelError("the network gave scores that are not numbers: its weights are damaged")
        return tuple(self._predict(index, scores.item(index)) for index in _best(scores, k))

    def _predict(self, index: int, score: float) -> Prediction:
        label = self._labels[index]
        # Seven digits are what a float32 holds; more would only make answers long.
        return Prediction(index, label.synset, label.name, float(f"{score:.7g}"))

    def matching(self, pattern: str) -> tuple[int, ...]:
        """The outputs that `pattern` names: a name, a synset, or a shell pattern such as ``*spider*``.

        Any of a class's names will do, in capitals or not. Several outputs can have the same name. A name may
        itself look like a pattern, ``night [cloudy]``.
        """
        wanted = " ".join(pattern.split()).casefold()
        names = {label.index: [name.casefold() for name in label.all_names] for label in self._labels}
        exactly = tuple(index for index, known in names.items() if wanted in known)
        return exactly or tuple(
            index
            for index, known in names.items()
            if any(fnmatch.fnmatchcase(name, wanted) for name in known)
        )

    def closest(self, pattern: str) -> list[str]:
        """Up to three names that are spelled like `pattern`, the most alike first."""
        known = {name.casefold(): name for label in self._labels for name in label.all_names}
        wanted = pattern.strip().casefold().strip("*? ")
        # Keras writes names with underscores.
        for spelled in (wanted.replace("_", " "), wanted):
            close = difflib.get_close_matches(spelled, known)
            if close:
                return [known[name] for name in close]
        return []


def _best(scores: npt.NDArray[np.float32], k: int) -> list[int]:
    """The outputs with the `k` highest scores, one after the other.

    A run has just filled the processor's caches with weights: of what comes after it, each further function
    of NumPy costs more than its work. A few searches take a third of what sorting all takes.
    """
    if k > FEW:
        return [int(index) for index in np.argsort(-scores, kind="stable")[:k]]
    left = scores.copy()
    found = []
    for _ in range(min(k, len(left))):
        index = int(left.argmax())  # the first of equals
        left[index] = -np.inf
        found.append(index)
    return found


def read_labels(path: Path, outputs: int) -> Labels:
    """Read lines of ``index<TAB>synset<TAB>names``; a line that begins with ``#`` is a comment.

    :raises ModelError: with file and line, when the file is not that, or has an index beyond `outputs`.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not UTF-8 text") from None
    return parse_rows(str(path), text, outputs)


def parse_rows(where: str, text: str, outputs: int) -> Labels:
    """Return the labels in `text`, the content of a file as :func:`read_labels` takes it.

    :param where: the name of the file, for messages.
    :raises ModelError: as there.
    """
    labels: dict[int, Label] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not fields[0].isdecimal():
            raise ModelError(f"{where}:{number}: expected index, synset and names between tabs")
        index = int(fields[0])
        if index >= outputs or index in labels:
            why = "given twice" if index in labels else f"the network has {outputs} outputs"
            raise ModelError(f"{where}:{number}: index {index}: {why}")
        labels[index] = Label(index, fields[1], fields[2])
    if not labels:
        raise ModelError(f"{where}: no labels in it")
    return Labels(labels.values(), outputs)


def format_labels(labels: Sequence[Label]) -> str:
    """The text that :func:`read_labels` reads."""
    return "".join(f"{label.index}\t{label.synset}\t{label.names}\n" for label in labels)
