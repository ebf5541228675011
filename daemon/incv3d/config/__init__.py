"""The typed configuration: what can be set, and reading it."""

from incv3d.config.loading import ConfigError, LoadedConfig, as_builtins, load_config
from incv3d.config.network import HttpSection, MqttSection
from incv3d.config.schema import (
    Config,
    CustomSection,
    DaemonSection,
    EventsSection,
    IntakeSection,
    LatencySection,
    ModelSection,
    SavingSection,
    SessionSection,
    SourceSection,
)

__all__ = [
    "Config",
    "ConfigError",
    "CustomSection",
    "DaemonSection",
    "EventsSection",
    "HttpSection",
    "IntakeSection",
    "LatencySection",
    "LoadedConfig",
    "ModelSection",
    "MqttSection",
    "SavingSection",
    "SessionSection",
    "SourceSection",
    "as_builtins",
    "load_config",
]
