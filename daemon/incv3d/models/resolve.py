"""From the model's name in the configuration to a model in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from incv3d.models.bundled import add_golden_picture, imagenet_labels
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError, for_a_person
from incv3d.models.prepare import run_child
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel

LOG = logging.getLogger(__name__)
AUTO = "auto"
PREFERRED = "inception-v3"
EMBEDDED = "efficientnet-lite0"
CUSTOM = "custom"
"""The name of the network that the configuration describes, unless it gives another."""
BUILDER = "incv3d.models.graph.build_efficientnet"
BUILDER_VERSION = 2
"""Raised when the graph that the builder makes changes; a model built by an older one is built again."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The model that was taken, and why it is that one."""

    model: StoredModel
    why: str


def resolve(
    name: str,
    store: ModelStore,
    progress: Callable[[str], None],
    fetch: Callable[[str], None] | None = None,
) -> Resolution:
    """Find the model that the configuration names, or choose one for ``auto``.

    A model that is named is that model or an error, never another. The embedded one is built into the
    store when it is first asked for.

    :param progress: told, in one line, of anything that takes a while.
    :param fetch: has a known model in the store when it returns, and raises ModelError when that cannot be;
        None: nothing is fetched. Only ``auto`` calls it, and can do without.
    :raises ModelError: when it is not there, or damaged.
    """
    if name == EMBEDDED:
        return Resolution(_embedded(store, progress), "named in the configuration")
    if name != AUTO:
        return Resolution(named(name, store), "named in the configuration")
    why = f"{PREFERRED} is not in the store (incv3d model fetch {PREFERRED})"
    if PREFERRED in store.names():
        try:
            return Resolution(store.get(PREFERRED), f"taken by `{AUTO}`, because it is in the store")
        except ModelError as error:
            why = f"{PREFERRED} cannot be used: {error}"
            LOG.warning("%s", why)
    elif fetch:
        try:
            fetch(PREFERRED)
        except ModelError as error:
            why = f"{PREFERRED} could not be fetched: {error}"
        else:
            return Resolution(store.get(PREFERRED), f"taken by `{AUTO}`, because it could be fetched")
    return Resolution(_embedded(store, progress), f"taken by `{AUTO}`, because {why}")


@for_a_person()
def named(name: str, store: ModelStore) -> StoredModel:
    """Return the model that is called `name`.

    :raises ModelError: it is not there, or damaged.
    """
    if to_be_fetched(name, store):
        raise ModelError(f"{name} is not in {store.root} yet; fetch it: incv3d model fetch {name}")
    return store.get(name)


def to_be_fetched(name: str, store: ModelStore) -> bool:
    """Return whether `name` is that of a known model that is not in the store, and can be downloaded."""
    if name == AUTO or name in store.names():
        return False
    entry = load_catalog().get(name)
    return entry is not None and bool(entry.url)


def _embedded(store: ModelStore, progress: Callable[[str], None]) -> StoredModel:
    made_by = f"{BUILDER} {BUILDER_VERSION}"
    if not _is_there(store, made_by):
        progress(f"building {EMBEDDED} (once; this imports TensorFlow, and takes minutes on a Raspberry Pi)")
        with store.exclusively():
            if not _is_there(store, made_by):
                _build(store, made_by)
    return store.get(EMBEDDED)


def _is_there(store: ModelStore, made_by: str) -> bool:
    try:
        there = store.get(EMBEDDED) if EMBEDDED in store.names() else None
    except ModelError as error:
        LOG.warning("%s; it is built again", error)
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
        add_golden_picture(entry, folder)
