"""Pictures in folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from taught_pictures import picture


@pytest.fixture
def set_of(tmp_path: Path) -> Callable[..., Path]:
    """Make a teaching set with a number of pictures of each class."""

    def make(**counts: int) -> Path:
        for label, count in counts.items():
            (tmp_path / "set" / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "set" / label / f"{number}.jpg").write_bytes(picture(label, number))
        return tmp_path / "set"

    return make


@pytest.fixture
def preprocessor() -> Preprocessor:
    """For a network that takes 32 x 32 pixels."""
    return Preprocessor(InputSpec(32, 32, 0.0, 255.0, "stretch", 1.0, "bicubic"), 10_000_000)
