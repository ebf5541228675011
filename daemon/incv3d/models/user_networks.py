"""Import a network of the user's own from a file in any format that ``custom.file`` supports."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from incv3d.config.custom import CustomSection
from incv3d.config.preprocessing import PresetName
from incv3d.models.catalog import load_catalog
from incv3d.models.custom import add_network
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.file_kinds import format_of, kind_of
from incv3d.models.labels import read_labels
from incv3d.models.store import ModelStore, StoredModel

UNNAMED = "class 0"
"""The label of the first output of a network without labels."""
LABEL_NAMES = ("output_labels.txt", "retrained_labels.txt", "labels.txt")
"""Names used by ``retrain.py``, its tutorials and Teachable Machine."""


def import_user_network(
    store: ModelStore,
    file: Path,
    name: str | None,
    labels: Path | None,
    like: ModelEntry | None,
    preset: PresetName,
    replace: bool,
    progress: Callable[[str], None],
    check: Callable[[StoredModel], None],
) -> StoredModel:
    """Import the network in `file` into `store`; its description is derived from the file.

    :param name: the model's name; None: derived from the file's name.
    :param labels: the labels file; None: one in the same folder, if there is one.
    :param like: the known model that it was trained from, whose preprocessing it shares; None: the usual
        preprocessing for the file's format.
    :param preset: the preset that it was trained with.
    :param progress: called with one line per step.
    :param check: called with the model before it gets its name; an exception cancels the import.
    :raises ModelError: the file cannot be imported; the store is unchanged.
    """
    kind = kind_of(file)
    name = name or _name_of(file)
    labels = labels or find_labels_file(file)
    section = CustomSection(
        file=str(file.absolute()), labels=str(labels.absolute()) if labels else "", preset=preset
    )
    if like:
        section = CustomSection(
            file=section.file,
            labels=section.labels,
            channel_order=like.channel_order,
            fit=like.fit,
            crop_fraction=like.crop_fraction,
            interpolation=like.interpolation,
        )
    slow = " (takes minutes on a Raspberry Pi)" if format_of(kind) == "graphdef" else ""
    progress(f"importing {file} as {name}{slow}")
    if labels:
        progress(f"labels: {labels}")
    try:
        with store.exclusively():
            add_network(section, kind, name, store, check=check, replace=replace)
    except ModelError as error:
        if "custom." not in str(error):
            raise
        raise ModelError(f"{error} (in the configuration, with custom.file: {file})") from None
    model = store.get(name)
    if not labels and read_labels(model.labels, model.entry.outputs)[0].names == UNNAMED:
        progress("no labels: its outputs are called class 0, class 1 and so on; name them with --labels FILE")
    progress(f"pixels: {model.entry.pixels_in_words}")
    if preset != "none":
        progress(f"preset {preset}: {model.entry.picture_in_words}")
    if model.entry.binary:
        progress("output: one score, used for the second label; the first label gets 1 - score")
    if model.entry.caution:
        progress(f"caution: {model.entry.caution}")
    return model


def find_labels_file(file: Path) -> Path | None:
    """Return the labels file in the folder of a network's file, or None if there is none."""
    names = (*LABEL_NAMES, f"{file.stem}_labels.txt", f"{file.stem}.labels.txt", f"{file.stem}.txt")
    return next((path for path in map(file.with_name, names) if path.is_file() and path != file), None)


def _name_of(file: Path) -> str:
    stem = file.name if file.is_dir() else file.stem
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]
    if not name or name in load_catalog():
        raise ModelError(f"{file}: no model name can be derived from the file's name; use --name NAME")
    return name
