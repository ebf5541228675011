"""Small heads that are made by hand, and facts for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from incv3d.models.files import sha256_of
from incv3d.models.store import StoredModel
from incv3d.models.taught.head import Floats, Head, normalize
from incv3d.models.taught.model import HeadFacts


def head_of(classes: Sequence[str], examples: Floats, threshold: float = 0.5, spread: float = 0.02) -> Head:
    """Return a head that knows one example of each class, a row of `examples`: ``(classes, D)``."""
    gallery = normalize(examples.astype(np.float32))
    center: Floats = gallery.mean(0)
    return Head(
        tuple(classes),
        center,
        10 * (gallery - center).T / max(1e-9, np.square(gallery - center).sum(1).mean()),
        np.zeros(len(classes), np.float32),
        gallery,
        threshold,
        spread,
    )


def axes(count: int = 2, length: int = 16) -> Floats:
    """Return as many orthogonal features, one a row."""
    return np.eye(count, length, dtype=np.float32)


def facts_of(name: str, head: Head, model: StoredModel | None = None, **others: object) -> HeadFacts:
    """Return the facts of `head`, taught on `model`."""
    given = {
        "name": name,
        "base": model.name if model else "base",
        "base_sha256": sha256_of(model.network) if model else "0" * 64,
        "precision": "float32",
        "fit": model.entry.fit if model else "stretch",
        "crop_fraction": model.entry.crop_fraction if model else 1.0,
        "classes": head.classes,
        "counts": (1,) * len(head.classes),
        "groups": (1,) * len(head.classes),
        "taught_at": "2026-12-01T00:00:00.000Z",
    }
    return HeadFacts(**(given | others))  # type: ignore[arg-type]


def files_in(folder: Path) -> list[str]:
    """Return the paths of all files and folders in `folder`."""
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*"))
