"""Read the catalog of known models, ``catalog.yaml``."""

from __future__ import annotations

from importlib import resources

import msgspec

from incv3d.config.custom import CustomSection
from incv3d.config.schema import Config
from incv3d.models.entry import ModelEntry


def load_catalog() -> dict[str, ModelEntry]:
    """Return every known model by name."""
    text = resources.files("incv3d.models").joinpath("catalog.yaml").read_bytes()
    return msgspec.yaml.decode(text, type=dict[str, ModelEntry])


def unused_custom(config: Config) -> str:
    """Return a message about keys of ``custom`` that have no effect; empty if there are none."""
    custom, default = config.custom, CustomSection()
    given = [key for key in custom.__struct_fields__ if getattr(custom, key) != getattr(default, key)]
    name = config.model.name
    if not given or (custom.file and name not in load_catalog()):
        return ""
    keys = ", ".join(f"custom.{key}" for key in given)
    if custom.file:
        return f"not used: {keys}; model.name is `{name}`, a known model: use another name"
    return f"not used: {keys}; they have no effect without custom.file"
