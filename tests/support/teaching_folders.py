"""Folders of pictures to teach from: each class has a color of its own, each picture its own pattern."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

RED, BLUE, GREEN = (200, 60, 40), (40, 90, 200), (60, 180, 60)
COLORS = {"empty": RED, "full": BLUE, "other": GREEN, "ok": GREEN, "scratched": RED}
SIDE = 96


def colored(class_name: str, number: int) -> bytes:
    """Return a JPEG in the color of its class."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 120, (4, 4, 3), dtype=np.uint8)).resize((SIDE, SIDE))
    pixels = np.asarray(coarse).astype(int) + np.array(COLORS[class_name]) - 60
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def folder_of(where: Path, classes: dict[str, int], first: int = 0) -> Path:
    """Make a folder with a number of pictures of each class.

    Each two are of one occasion: a sub-folder.

    :param first: the number of the first picture; other numbers are other pictures.
    """
    for name, count in classes.items():
        for number in range(first, first + count):
            occasion = where / name / str(number // 2)
            occasion.mkdir(parents=True, exist_ok=True)
            (occasion / f"{number}.jpg").write_bytes(colored(name, number))
    return where
