"""Check that the library of an engine is installed."""

from __future__ import annotations

from incv3d.config.loading import ConfigError
from incv3d.engines import EngineName, engine_of
from incv3d.errors import pip_install


def require_library(name: EngineName, model: str) -> None:
    """Raise ConfigError if the library of the engine called `name`, which runs `model`, is missing."""
    engine = engine_of(name)
    if not engine.is_installed:
        raise ConfigError(
            f"session.engine: {model} runs on {name}, whose library is missing: {pip_install(engine.package)}"
        )
