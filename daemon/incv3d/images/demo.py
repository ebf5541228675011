"""Locate the bundled demo photographs."""

from __future__ import annotations

from pathlib import Path


def demo_folder() -> Path:
    """Return the folder of the bundled photographs (their sources: ``demo/SOURCES.md``)."""
    return Path(__file__).parent / "demo"
