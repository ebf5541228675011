"""Tests that boot machines of their own take minutes, and run only when they are asked for."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def asked_for() -> None:
    if not os.environ.get("INCV3D_SYSTEM"):
        pytest.skip("boots a machine of its own: tests/run --system")
