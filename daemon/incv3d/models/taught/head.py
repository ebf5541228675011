"""Classify features by a head: the owner's classes, or ``unknown`` if nothing that was taught is similar."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from incv3d.frames import Prediction
from incv3d.models.entry import ModelError

UNKNOWN = "unknown"
LONGEST_BYTES = 255
"""Of a class's name, in UTF-8: no folder can have a longer one."""
"""The label of a frame that resembles nothing taught. No class can have this name."""
NEAREST = 5
"""Familiarity is the mean cosine to this many taught pictures, the nearest ones."""
MAX_GALLERY = 1000
"""Most pictures in a gallery: 8 MB for 2048 features."""
ARRAYS = ("center", "weights", "bias", "gallery", "limits")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear classifier of L2-normalized features, and the taught pictures by which it knows strangers.

    :raises ModelError: the arrays do not fit together, or hold numbers that are not finite.
    """

    classes: tuple[str, ...]
    """The names of the classes, in the order of the weights; at least two."""
    center: Floats
    """``(D,)``, subtracted from normalized features."""
    weights: Floats
    """``(D, classes)``."""
    bias: Floats
    """``(classes,)``."""
    gallery: Floats
    """``(N, D)``, the normalized features of at most :data:`MAX_GALLERY` taught pictures."""
    threshold: float
    """A frame of less familiarity is unknown."""
    spread: float
    """The difference in familiarity from the threshold at which ``unknown`` has a probability of 0.73."""

    def __post_init__(self) -> None:
        check_classes(self.classes)
        count, length = len(self.classes), len(self.center)
        shapes = {
            "center": (self.center.shape, (length,)),
            "weights": (self.weights.shape, (length, count)),
            "bias": (self.bias.shape, (count,)),
            "gallery": (self.gallery.shape, (len(self.gallery), length)),
        }
        for name, (given, wanted) in shapes.items():
            if given != wanted or 0 in given:
                raise ModelError(f"{name} of a head has the shape {given} instead of {wanted}")
        if len(self.gallery) > MAX_GALLERY:
            raise ModelError(
                f"the gallery of a head has {len(self.gallery)} pictures, more than {MAX_GALLERY}"
            )
        numbers = (self.center, self.weights, self.bias, self.gallery)
        if not all(np.isfinite(each).all() for each in (*numbers, self.threshold, self.spread)):
            raise ModelError("a head has numbers that are not finite")
        if self.spread <= 0:
            raise ModelError(f"the spread of a head is {self.spread:g}; it must be above 0")

    @property
    def length(self) -> int:
        """The number of features that it takes."""
        return len(self.center)

    def predict(self, features: Floats) -> tuple[Floats, float]:
        """Return the probability of each class, ``(classes,) float32``, and the familiarity of `features`.

        :param features: ``(D,) float32``, as the network returns them.
        :raises ModelError: there are more or fewer of them, or one is not finite.
        """
        if features.shape != (self.length,):
            raise ModelError(f"the network returned {features.size} features for a head of {self.length}")
        unit = normalize(features)
        if not np.isfinite(unit).all():
            raise ModelError("the network returned features that are not numbers: its weights are damaged")
        logits = (unit - self.center) @ self.weights + self.bias
        exponentials = np.exp(logits - logits.max())
        return exponentials / exponentials.sum(), familiarity(self.gallery @ unit)

    def rank(self, features: Floats, k: int) -> tuple[Prediction, ...]:
        """Return the `k` best of the classes and ``unknown``, best first; equal scores by index.

        ``unknown`` is among them, and first, only if the features are less familiar than the threshold. Its
        index is the number of classes.

        :raises ModelError: as for :meth:`predict`.
        """
        probabilities, familiar = self.predict(features)
        scores: list[float] = probabilities.tolist()
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        names = (*self.classes, UNKNOWN)
        if familiar < self.threshold:
            strange = unknown_score(familiar, self.threshold, self.spread)
            scores = [score * (1 - strange) for score in scores] + [strange]
            order.insert(0, len(self.classes))
        return tuple(Prediction(i, "", names[i], float(f"{scores[i]:.7g}")) for i in order[:k])

    def to_bytes(self) -> bytes:
        """Return it as the content of a ``head.npz``."""
        file = io.BytesIO()
        np.savez(
            file,
            classes=np.array(self.classes),
            center=self.center,
            weights=self.weights,
            bias=self.bias,
            gallery=self.gallery,
            limits=np.array([self.threshold, self.spread]),
        )
        return file.getvalue()


def read_head(path: Path) -> Head:
    """Return the head in the file at `path`, which :meth:`Head.to_bytes` wrote. Checksums are checked.

    :raises ModelError: it is missing or damaged; the message names the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            classes = tuple(str(each) for each in file["classes"])
            center, weights, bias, gallery = (
                file[name].astype(np.float32, copy=False) for name in ARRAYS[:-1]
            )
            threshold, spread = (float(each) for each in file["limits"])
        return Head(classes, center, weights, bias, gallery, threshold, spread)
    except (ModelError, ValueError, KeyError, EOFError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: damaged ({error})") from None


def check_classes(classes: tuple[str, ...]) -> None:
    """Raise ModelError unless there are two or more classes with different, usable names."""
    if len(classes) < 2:
        raise ModelError(f"a head needs two classes or more, not {len(classes)}")
    for name in classes:
        check_class(name)
    if len({name.casefold() for name in classes}) < len(classes):
        raise ModelError(f"two classes have the same name: {', '.join(sorted(classes))}")


def check_class(name: str) -> str:
    """Return `name` if a class can have it: 1 to 100 printable characters; also the name of a folder.

    :raises ModelError: it cannot.
    """
    if name.casefold() == UNKNOWN:
        raise ModelError(
            f"a class cannot be called `{name}`: frames that resemble nothing taught get this label; "
            "call it `other`, for example"
        )
    if not (0 < len(name) <= 100 and name.isprintable() and name == name.strip()):
        shown = "".join(each if each.isprintable() else "?" for each in name[:100])
        raise ModelError(
            f"`{shown}` cannot be a class: use 1 to 100 printable characters, and no space at an end"
        )
    if len(name.encode()) > LONGEST_BYTES:
        raise ModelError(f"`{name[:20]}...` cannot be a class: its name is too long for that of a folder")
    if name.startswith(".") or "/" in name:
        raise ModelError(f"`{name}` cannot be a class: no `/`, and no `.` at the beginning")
    return name


def normalize(features: Floats) -> Floats:
    """Return `features`, one vector or one a row, with a length of 1; zeros stay zeros."""
    lengths = np.sqrt(np.sum(np.square(features), axis=-1, keepdims=True))
    unit: Floats = features / np.maximum(lengths, np.float32(1e-12))
    return unit


def familiarity(cosines: Floats) -> float:
    """Return the mean of the :data:`NEAREST` largest `cosines`, ``(N,)``, or of all if there are fewer."""
    nearest = cosines if len(cosines) <= NEAREST else np.partition(cosines, -NEAREST)[-NEAREST:]
    return float(nearest.mean())


def unknown_score(familiar: float, threshold: float, spread: float) -> float:
    """Return the probability of ``unknown`` at a familiarity below the threshold: 0.5 there, rising to 1."""
    return 1 / (1 + math.exp(min((familiar - threshold) / spread, 0.0)))
