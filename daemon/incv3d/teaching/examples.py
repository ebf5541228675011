"""Hold the pictures of a teaching set with their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from incv3d.models.taught.head import check_classes, normalize
from incv3d.teaching.errors import UnusableSet
from incv3d.teaching.groups import Origin, find_groups
from incv3d.teaching.logistic import Floats, Indices


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of a teaching set."""

    name: str
    """As its owner knows it, ``ants/IMG_1.jpg``."""
    label: str
    """Its class."""
    features: Floats
    """As the network returns them."""
    sha256: str = ""
    """Of its file; empty: unknown, then what is said of it is not compared with what the head before said."""
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class TeachingArrays:
    """A teaching set as arrays, one row a picture."""

    names: tuple[str, ...]
    sha256s: tuple[str, ...]
    classes: tuple[str, ...]
    unit: Floats
    """Normalized features."""
    y: Indices
    """The class of each picture."""
    groups: Indices


def to_arrays(examples: Sequence[Example], classes: tuple[str, ...] = ()) -> TeachingArrays:
    """Return `examples` as arrays.

    :param classes: the classes, in the order of their numbers; empty: those of the examples, by name.
    :raises UnusableSet: there are too few classes, one that is not in `classes`, or features that do not
        fit.
    :raises ModelError: a class has a name that is not allowed.
    """
    found = tuple(sorted({each.label for each in examples}))
    if classes:
        if unknown := [each for each in found if each not in classes]:
            raise UnusableSet(f"`{unknown[0]}` is not a class of the teaching set ({', '.join(classes)})")
    elif not found:
        raise UnusableSet("no pictures: teaching needs two classes or more with a few pictures each")
    elif len(found) == 1:
        raise UnusableSet(
            f"only one class, `{found[0]}`: teaching needs two or more; "
            "pictures of anything else can be the other, in a class called `other`"
        )
    else:
        check_classes(found)
    lengths = {each.features.shape for each in examples}
    if len(lengths) > 1:
        raise UnusableSet(f"the pictures have features of different lengths: {sorted(lengths)}")
    unit = normalize(np.array([each.features for each in examples], np.float32))
    if not np.isfinite(unit).all():
        raise UnusableSet("the network returned features that are not numbers: its weights are damaged")
    number = {name: at for at, name in enumerate(classes or found)}
    y = np.array([number[each.label] for each in examples], np.intp)
    return TeachingArrays(
        names=tuple(each.name for each in examples),
        sha256s=tuple(each.sha256 for each in examples),
        classes=classes or found,
        unit=unit,
        y=y,
        groups=find_groups([each.origin for each in examples], unit, y),
    )
