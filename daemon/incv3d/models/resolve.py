"""Find a model in the store by the name in the configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from incv3d.models.bundled import add_golden_image, imagenet_labels
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError, mark_lasting
from incv3d.models.prepare import run_child
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel

LOG = logging.getLogger(__name__)
AUTO = "auto"
PREFERRED = "inception-v3"
EMBEDDED = "efficientnet-lite0"
CUSTOM = "custom"
"""The name of the custom network, unless the configuration gives another."""
BUILDER = "incv3d.models.graph.build_efficientnet"
BUILDER_VERSION = 2
"""Incremented when the builder's graph changes, so that a model from an older one is rebuilt."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The chosen model and the reason for it."""

    model: StoredModel
    why: str


def resolve(
    name: str,
    store: ModelStore,
    progress: Callable[[str], None],
    fetch: Callable[[str], None] | None = None,
) -> Resolution:
    """Find the model named in the configuration, or choose one for ``auto``.

    A named model is never replaced by another. The embedded one is built on first use.

    :param progress: called with one line before anything that takes a while.
    :param fetch: fetches a known model into the store, or raises ModelError; None: fetch nothing. Called by
        ``auto`` only, which continues without it.
    :raises ModelError: the model is missing or damaged.
    """
    if name == EMBEDDED:
        return Resolution(_embedded(store, progress), "named in the configuration")
    if name != AUTO:
        return Resolution(get_model(name, store), "named in the configuration")
    why = f"{PREFERRED} is not in the store (incv3d model fetch {PREFERRED})"
    if PREFERRED in store.names():
        try:
            return Resolution(store.get(PREFERRED), f"chosen by `{AUTO}`, because it is in the store")
        except ModelError as error:
            why = f"{PREFERRED} cannot be used: {error}"
            LOG.warning("%s", why)
    elif fetch:
        try:
            fetch(PREFERRED)
        except ModelError as error:
            why = f"{PREFERRED} could not be fetched: {error}"
        else:
            return Resolution(store.get(PREFERRED), f"chosen by `{AUTO}`, because it was fetched")
    return Resolution(_embedded(store, progress), f"chosen by `{AUTO}`, because {why}")


@mark_lasting()
def get_model(name: str, store: ModelStore) -> StoredModel:
    """Return the model called `name`.

    :raises ModelError: it is missing or damaged.
    """
    if needs_fetch(name, store):
        raise ModelError(f"{name} is not in {store.root} yet; fetch it: incv3d model fetch {name}")
    return store.get(name)


def needs_fetch(name: str, store: ModelStore) -> bool:
    """Return whether `name` is a known model that can be downloaded and is not in the store."""
    if name == AUTO or name in store.names():
        return False
    entry = load_catalog().get(name)
    return entry is not None and bool(entry.url)


def _embedded(store: ModelStore, progress: Callable[[str], None]) -> StoredModel:
    made_by = f"{BUILDER} {BUILDER_VERSION}"
    if not _is_there(store, made_by):
        progress(f"building {EMBEDDED} (once)")
        with store.exclusively():
            if not _is_there(store, made_by):
                _build(store, made_by)
    return store.get(EMBEDDED)


def _is_there(store: ModelStore, made_by: str) -> bool:
    try:
        there = store.get(EMBEDDED) if EMBEDDED in store.names() else None
    except ModelError as error:
        LOG.warning("%s; building it again", error)
        return False
    return there is not None and there.manifest.made_by == made_by


def _build(store: ModelStore, made_by: str) -> None:
    entry = load_catalog()[EMBEDDED]
    with store.adding(EMBEDDED, entry, replace=True, made_by=made_by) as folder:
        try:
            run_child(BUILDER, [str(folder / GRAPH)])
        except ModelError as error:
            raise ModelError(f"{EMBEDDED} could not be built: {error}") from None
        (folder / LABELS).write_text(imagenet_labels(), "utf-8")
        add_golden_image(entry, folder)
