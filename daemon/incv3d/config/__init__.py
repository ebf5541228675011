"""The typed configuration: what can be set, and reading it."""

from incv3d.config.loading import ConfigError, LoadedConfig, load_config
from incv3d.config.schema import (
    Config,
    CustomSection,
    DaemonSection,
    IntakeSection,
    LatencySection,
    ModelSection,
    SessionSection,
    SourceSection,
)

__all__ = [
    "Config",
    "ConfigError",
    "CustomSection",
    "DaemonSection",
    "IntakeSection",
    "LatencySection",
    "LoadedConfig",
    "ModelSection",
    "SessionSection",
    "SourceSection",
    "load_config",
]
