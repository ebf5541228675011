"""From the model's name in the configuration to a model in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError
from incv3d.models.preparation import run_child
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel

AUTO = "auto"
PREFERRED = "inception-v3"
EMBEDDED = "efficientnet-lite0"
BUILDER = "incv3d.models.efficientnet"
BUILDER_VERSION = 1
"""Raised when the graph that the builder makes changes; a model built by an older one is built again."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The model that was taken, and why it is that one."""

    model: StoredModel
    why: str


def resolve(name: str, store: ModelStore, progress: Callable[[str], None]) -> Resolution:
    """Find the model that the configuration names, or choose one for ``auto``.

    A model that is named is that model or an error, never another. The embedded one is built into the
    store when it is first asked for.

    :param progress: told, in one line, of anything that takes a while.
    :raises ModelError: when it is not there, or damaged.
    """
    if name == EMBEDDED:
        return Resolution(_embedded(store, progress), "named in the configuration")
    if name != AUTO:
        return Resolution(store.get(name), "named in the configuration")
    if any(model.name == PREFERRED for model in store.models()):
        return Resolution(store.get(PREFERRED), f"taken by `{AUTO}`, because it is in the store")
    why = f"taken by `{AUTO}`, because {PREFERRED} is not in the store (incv3d model import FILE)"
    return Resolution(_embedded(store, progress), why)


def _embedded(store: ModelStore, progress: Callable[[str], None]) -> StoredModel:
    made_by = f"{BUILDER} {BUILDER_VERSION}"
    if not _is_there(store, made_by):
        progress(f"building {EMBEDDED} (once; this imports TensorFlow, and takes minutes on a Raspberry Pi)")
        with store.exclusively():
            if not _is_there(store, made_by):
                _build(store, made_by)
    return store.get(EMBEDDED)


def _is_there(store: ModelStore, made_by: str) -> bool:
    return any(model.name == EMBEDDED and model.manifest.made_by == made_by for model in store.models())


def _build(store: ModelStore, made_by: str) -> None:
    with store.adding(EMBEDDED, load_catalog()[EMBEDDED], replace=True, made_by=made_by) as folder:
        try:
            run_child(BUILDER, [str(folder / GRAPH)])
        except ModelError as error:
            raise ModelError(f"{EMBEDDED} could not be built: {error}") from None
        labels = resources.files("incv3d.models").joinpath("data/imagenet-1k.tsv").read_bytes()
        (folder / LABELS).write_bytes(labels)
