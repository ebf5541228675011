"""Give a model's networks their features as an output, and keep what is known of the networks."""

from __future__ import annotations

import logging
from collections.abc import Callable

from incv3d.models.features import ensure_features
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.engine_table import rename_networks

LOG = logging.getLogger(__name__)


def make_features_outputs(
    model: StoredModel, store: ModelStore, progress: Callable[[str], None]
) -> StoredModel:
    """Return `model` with networks that return their features, if they can; their times stay known."""
    marked = ensure_features(model, store, progress)
    try:
        rename_networks(marked.model, marked.renamed)
    except OSError as error:
        LOG.warning("%s: the times of its engines are lost: %s", model.name, error.strerror)
    return marked.model
