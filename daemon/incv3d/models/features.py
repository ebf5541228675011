"""Give the stored networks of a model their features as an output, if they come from an older version.

What is imported or converted now has them (:mod:`incv3d.models.flatbuffer.features`,
:mod:`incv3d.models.onnx_features`). A graph needs no such output.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from incv3d.engines.weight_cache import INDEX, origin_of, read_index
from incv3d.models.conversions import (
    DESCRIPTION,
    FORMAT,
    Precision,
    converted_precisions,
    folder_name,
    read_conversion,
    write_facts,
)
from incv3d.models.entry import ModelError
from incv3d.models.feature_marks import NONE, lacks_features, note_none
from incv3d.models.files import sha256_of, write_atomically
from incv3d.models.store import MANIFEST, ModelStore, StoredModel

LOG = logging.getLogger(__name__)
SCRATCH = "marking-features"


@dataclass(slots=True)
class MarkingResult:
    """A model whose networks return features if they can."""

    model: StoredModel
    renamed: dict[str, str] = field(default_factory=dict)
    """The new SHA-256 of each changed network by its old one."""


def ensure_features(model: StoredModel, store: ModelStore, progress: Callable[[str], None]) -> MarkingResult:
    """Make the features an output of the model's own network and of its conversions, where it is missing.

    Packed weights stay valid: they do not depend on the outputs. If the store cannot be changed, the networks
    run as they are.

    :param progress: called with one line if something must be changed.
    """
    marked = MarkingResult(model)
    if not (_is_unmarked(model) or _unmarked_conversions(model)) or not os.access(model.directory, os.W_OK):
        return marked
    progress(f"adding the features to the outputs of {model.name}'s networks (once)")
    try:
        with store.exclusively():
            for precision in _unmarked_conversions(model):
                _mark_conversion(marked, precision, store)
            if _is_unmarked(model):
                _mark_model(marked, store)
    except ModelError as error:
        LOG.warning("%s: runs without features: %s", model.name, error)
    return marked


def _is_unmarked(model: StoredModel) -> bool:
    return model.entry.format != "graphdef" and lacks_features(model.network, model.manifest.sha256)


def _unmarked_conversions(model: StoredModel) -> list[Precision]:
    found = []
    for precision in converted_precisions(model.directory):
        try:
            conversion = read_conversion(model.directory, precision, model.manifest.sha256)
        except ModelError:
            continue  # reported when it is to run
        if lacks_features(conversion.network, conversion.facts.sha256):
            found.append(precision)
    return found


def _mark_conversion(marked: MarkingResult, precision: Precision, store: ModelStore) -> None:
    model = marked.model
    conversion = read_conversion(model.directory, precision, model.manifest.sha256)
    with store.scratch_folder(SCRATCH) as scratch:
        folder = scratch / folder_name(precision)
        if not _marked_copy(conversion.network, folder, "", ""):
            note_none(conversion.network, conversion.facts.sha256)
            return
        network = folder / conversion.network.name
        facts = msgspec.structs.replace(
            conversion.facts, format=FORMAT, size_bytes=network.stat().st_size, sha256=sha256_of(network)
        )
        _bind_weights(conversion.network, conversion.facts.sha256, network, facts.sha256)
        write_facts(facts, folder)
        store.attach(model, folder)
    marked.renamed[conversion.facts.sha256] = facts.sha256


def _mark_model(marked: MarkingResult, store: ModelStore) -> None:
    model, old = marked.model, marked.model.manifest
    with store.scratch_folder(SCRATCH) as scratch:
        copy = scratch / "model"
        if not _marked_copy(model.network, copy, old.entry.input, old.entry.output):
            note_none(model.network, old.sha256)
            return
        with store.adding(model.name, old.entry, replace=True, made_by=old.made_by) as folder:
            shutil.copytree(copy, folder, copy_function=shutil.move, dirs_exist_ok=True)
            network = folder / model.network.name
            sha256 = sha256_of(network)
            _bind_weights(model.network, old.sha256, network, sha256)
    marked.renamed[old.sha256] = sha256
    marked.model = store.get(model.name)


def _marked_copy(network: Path, folder: Path, fed: str, fetched: str) -> bool:
    """Copy the folder of a network without its description, with features; return whether there are any."""
    folder.mkdir()
    copy = folder / network.name
    shutil.copyfile(network, copy)
    if not _mark(copy, fed, fetched):
        return False
    ignored = shutil.ignore_patterns(".*", network.name, MANIFEST, DESCRIPTION, NONE)
    shutil.copytree(network.parent, folder, ignore=ignored, copy_function=_link, dirs_exist_ok=True)
    return True


def _mark(network: Path, fed: str, fetched: str) -> bool:
    if network.suffix == ".onnx":
        from incv3d.models.onnx_features import mark_features as mark_onnx

        return mark_onnx(network, fed, fetched)
    from incv3d.models.flatbuffer.features import mark_features

    return mark_features(network, fetched)


def _link(source: str, target: str) -> None:
    """Give a file another name, which is only replaced, never changed; copy it where that is impossible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _bind_weights(old: Path, old_sha256: str, new: Path, new_sha256: str) -> None:
    """Write that the packed weights of a flatbuffer belong to its changed copy."""
    index = read_index(old, old_sha256)
    if index:
        index = msgspec.structs.replace(index, origin=origin_of(new_sha256))
        write_atomically(new.with_name(INDEX), msgspec.json.encode(index))
