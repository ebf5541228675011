"""What the configuration and a model's entry say about a Session and the frames for it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal

from incv3d.config.schema import Config
from incv3d.engines import SessionSpec
from incv3d.images.preprocess import Mode
from incv3d.images.resize import InputSpec
from incv3d.machine import memory_limit_mb
from incv3d.models.entry import ModelEntry
from incv3d.models.store import StoredModel

CACHES_FILTERS_FROM_MB = 2000
"""With this much memory, a second copy of Inception-v3's filters (110 MB) is affordable."""


def spec_of(config: Config, model: StoredModel) -> SessionSpec:
    """Return the spec for a Session of the model's own network."""
    caches = should_cache_filters(config.session.cache_filters, memory_limit_mb())
    return replace(model.session_spec(threads_of(config)), cache_filters=caches)


def should_cache_filters(asked: bool | Literal["auto"], limit_mb: float | None) -> bool:
    """Return whether to spend memory on a second copy of the filters for shorter runs.

    :param limit_mb: the memory that this process may use; None: unknown.
    """
    if asked == "auto":
        return limit_mb is not None and limit_mb >= CACHES_FILTERS_FROM_MB
    return asked


def threads_of(config: Config) -> int:
    """Return the number of cores that one run may use."""
    return config.session.threads or available_cores()


def preprocessing(asked: Literal["fast", "exact"], spec: SessionSpec) -> Mode:
    """Return how frames are converted. With `exact`, a graph that can decode JPEGs does it itself."""
    in_graph = spec.format == "graphdef" and spec.jpeg_input
    return "graph" if asked == "exact" and in_graph else asked


def input_spec(entry: ModelEntry) -> InputSpec:
    """Return the part of a model's entry that preprocessing needs."""
    return InputSpec(
        entry.height,
        entry.width,
        entry.mean,
        entry.scale,
        entry.fit,
        entry.crop_fraction,
        entry.interpolation,
        entry.channel_order,
        entry.layout,
        entry.channels,
        entry.resize_to,
    )


def available_cores() -> int:
    """Return the number of cores that this process may use; a CPU mask can reduce it."""
    return len(os.sched_getaffinity(0))
