"""Label the outputs of a network: index, synset and names."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from incv3d.frames import Prediction
from incv3d.models.entry import ModelError

SPECIES = re.compile(r"([A-Z][a-z]+(?: [a-z.-]+)+) \((.+)\)")
"""A Latin name with the common one: at least a genus and a species."""
FEW = 16
"""Up to this many best scores are found by repeated search; for more, all scores are sorted."""


@dataclass(frozen=True, slots=True)
class Label:
    """The label of one class."""

    index: int
    """The number of the output, from 0."""
    synset: str
    """Its WordNet id, such as ``n02510455``; empty if it has none."""
    names: str
    """For an ImageNet class, which has a synset: all its names, comma-separated, the usual one first. For
    others: the name, which may contain commas."""

    @property
    def name(self) -> str:
        """The first name."""
        return self.names.split(",")[0] if self.synset else self.names

    @property
    def all_names(self) -> tuple[str, ...]:
        """All names, and the synset if there is one."""
        if not self.synset:
            return (self.names,)
        return (*(name.strip() for name in self.names.split(",")), self.synset)

    @property
    def both_names(self) -> tuple[str, ...]:
        """The Latin and the common name of a species such as ``Ara macao (Scarlet Macaw)``; else nothing."""
        species = SPECIES.fullmatch(self.names)
        return () if self.synset or species is None else (species[1], species[2])


class Labels:
    """The labels of all outputs.

    :param labels: labels in any order; an output without a label is called ``class N``.
    :param outputs: number of outputs of the network.
    """

    def __init__(self, labels: Iterable[Label], outputs: int) -> None:
        known = {label.index: label for label in labels}
        self._labels = [known.get(index) or Label(index, "", f"class {index}") for index in range(outputs)]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Label:
        return self._labels[index]

    def top_k(self, scores: npt.NDArray[np.float32], k: int) -> tuple[Prediction, ...]:
        """Return the `k` best classes, best first; equal scores are ordered by index.

        :param scores: ``(outputs,) float32``.
        :raises ModelError: the number of scores differs from the number of labels, or a score is not finite.
        """
        if len(scores) != len(self._labels):
            raise ModelError(f"the network returned {len(scores)} scores for {len(self._labels)} labels")
        # argmin and argmax both return the position of a NaN.
        if not all(math.isfinite(scores.item(i)) for i in (scores.argmin(), scores.argmax())):
            raise ModelError("the network returned scores that are not numbers: its weights are damaged")
        return tuple(self._predict(index, scores.item(index)) for index in _best(scores, k))

    def _predict(self, index: int, score: float) -> Prediction:
        label = self._labels[index]
        # A float32 has seven significant digits; more would only lengthen answers.
        return Prediction(index, label.synset, label.name, float(f"{score:.7g}"))

    def matching(self, pattern: str) -> tuple[int, ...]:
        """Return the outputs that match `pattern`: a name, a synset, or a shell pattern such as ``*spider*``.

        Matches any name of a class, ignoring case; a species also by its Latin or its common name alone.
        Several outputs can have the same name. A name may itself look like a pattern: ``night [cloudy]``.
        """
        wanted = " ".join(pattern.split()).casefold()
        names = {label.index: [name.casefold() for name in label.all_names] for label in self._labels}
        exactly = tuple(index for index, known in names.items() if wanted in known)
        half = (label.index for label in self._labels if wanted in map(str.casefold, label.both_names))
        return (
            exactly
            or tuple(half)
            or tuple(
                index
                for index, known in names.items()
                if any(fnmatch.fnmatchcase(name, wanted) for name in known)
            )
        )

    def closest(self, pattern: str) -> list[str]:
        """Return up to three names spelled like `pattern`, the most similar first."""
        known = {
            name.casefold(): name for label in self._labels for name in label.all_names + label.both_names
        }
        wanted = pattern.strip().casefold().strip("*? ")
        # Keras writes names with underscores.
        for spelled in (wanted.replace("_", " "), wanted):
            close = difflib.get_close_matches(spelled, known)
            if close:
                return [known[name] for name in close]
        return []


def _best(scores: npt.NDArray[np.float32], k: int) -> list[int]:
    """Return the outputs with the `k` highest scores, in order.

    After a run, the processor's caches are full of weights, so each additional NumPy function costs more than
    its work: a few searches take a third of the time of sorting.
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

    :raises ModelError: the file has another format, or an index beyond `outputs`; the message has the line.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not UTF-8 text") from None
    return parse_rows(str(path), text, outputs)


def parse_rows(where: str, text: str, outputs: int) -> Labels:
    """Return the labels in `text`, the content of a file as for :func:`read_labels`.

    :param where: the name of the file, for messages.
    :raises ModelError: as for that function.
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
        raise ModelError(f"{where}: contains no labels")
    return Labels(labels.values(), outputs)


def format_labels(labels: Sequence[Label]) -> str:
    """Return labels in the format that :func:`read_labels` reads."""
    return "".join(f"{label.index}\t{label.synset}\t{label.names}\n" for label in labels)
