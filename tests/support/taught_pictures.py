"""Synthetic pictures with features: each class is a direction, and groups lie close together along it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from incv3d.teaching.examples import Example
from incv3d.teaching.groups import Origin

LENGTH = 64
BASE = 0.25
"""What the features of all pictures have in common."""


def directions(seed: int = 0) -> np.ndarray:
    """A direction a class, ``(10, LENGTH)``."""
    return np.random.default_rng(seed).normal(size=(10, LENGTH)).astype(np.float32) / 8


def pictures(
    counts: Sequence[int],
    *,
    groups: Sequence[int] | None = None,
    apart: float = 1.0,
    noise: float = 1.0,
    group_noise: float = 0.0,
    seed: int = 0,
) -> list[Example]:
    """So many pictures of the classes ``a``, ``b``, …

    :param groups: so many groups of each class, in sub-folders; None: no sub-folders.
    :param apart: how different the classes are.
    :param noise: how different the pictures of a group are.
    :param group_noise: how different the groups of a class are.
    """
    random = np.random.default_rng(seed)
    centers = directions()
    found = []
    for number, count in enumerate(counts):
        label = "abcdefghij"[number]
        group_count = groups[number] if groups else 1
        offsets = random.normal(size=(group_count, LENGTH)) * group_noise / 8
        for at in range(count):
            group = at % group_count
            features = (
                BASE + apart * centers[number] + offsets[group] + random.normal(size=LENGTH) * noise / 8
            )
            found.append(
                Example(
                    name=f"{label}/{at}",
                    label=label,
                    features=np.maximum(features, 0).astype(np.float32),
                    sha256=f"{seed}-{label}-{at}",
                    origin=Origin("", f"group {group}" if groups else ""),
                )
            )
    return found


COLORS = {"empty": (200, 60, 40), "full": (40, 90, 210)}


def picture(label: str, seed: int, size: int = 48, format_: str = "JPEG") -> bytes:
    """A picture in the color of its class, with noise."""
    random = np.random.default_rng([seed, *label.encode()])
    pixels = random.normal(0, 25, (size, size + 8, 3)) + COLORS.get(label, (120, 120, 120))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, format_, quality=95)
    return file.getvalue()
