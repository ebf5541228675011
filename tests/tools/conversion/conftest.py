"""A state directory with a tiny network, for tests of conversions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_models import add_rgb


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A state directory with one tiny network, `rgb`."""
    add_rgb(tmp_path)
    return tmp_path
