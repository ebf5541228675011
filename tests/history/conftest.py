"""What the tests of the history share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from small_disks import mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with mounted(tmp_path / "disk") as disk:
        yield disk
