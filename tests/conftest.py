"""What every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large test data beside the checkout; tests that need it are skipped without it."""
    folder = Path(os.environ.get("INCV3D_SHARED", CHECKOUT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the test data in {folder} (or $INCV3D_SHARED)")
    return folder
