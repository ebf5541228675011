"""The models that incv3d knows by name: ``catalog.yaml``, read."""

from __future__ import annotations

from importlib import resources

import msgspec

from incv3d.models.entry import ModelEntry


def load_catalog() -> dict[str, ModelEntry]:
    """Every known model by name."""
    text = resources.files("incv3d.models").joinpath("catalog.yaml").read_bytes()
    return msgspec.yaml.decode(text, type=dict[str, ModelEntry])
