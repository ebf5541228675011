"""The models that incv3d knows by name: ``catalog.yaml``, read."""

from __future__ import annotations

from importlib import resources

import msgspec

from incv3d.config.schema import Config, CustomSection
from incv3d.models.entry import ModelEntry


def load_catalog() -> dict[str, ModelEntry]:
    """Every known model by name."""
    text = resources.files("incv3d.models").joinpath("catalog.yaml").read_bytes()
    return msgspec.yaml.decode(text, type=dict[str, ModelEntry])


def unused_custom(config: Config) -> str:
    """Say which keys of ``custom`` another model than that network leaves unused; empty: it uses all."""
    custom, default = config.custom, CustomSection()
    given = [key for key in custom.__struct_fields__ if getattr(custom, key) != getattr(default, key)]
    name = config.model.name
    if not given or (custom.file and name not in load_catalog()):
        return ""
    keys = ", ".join(f"custom.{key}" for key in given)
    if custom.file:
        return f"not used: {keys}; model.name is `{name}`, a known model: give the network another name"
    return f"not used: {keys}; without custom.file there is no network to use them for"
