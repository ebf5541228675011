"""Import a network of the user's own from a file, in any of the forms that ``custom.file`` takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from incv3d.config.schema import CustomSection
from incv3d.models.catalog import load_catalog
from incv3d.models.custom import add_network
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.file_kinds import kind_of
from incv3d.models.store import ModelStore, StoredModel

LABEL_NAMES = ("output_labels.txt", "retrained_labels.txt", "labels.txt")
"""What ``retrain.py``, its tutorials and Teachable Machine call them."""


def import_user_network(
    store: ModelStore,
    file: Path,
    name: str | None,
    labels: Path | None,
    like: ModelEntry | None,
    replace: bool,
    progress: Callable[[str], None],
    check: Callable[[StoredModel], None],
) -> StoredModel:
    """Take the network in `file` into `store`; what has to be known of it is found in the file.

    :param name: what to call it; None: after the file.
    :param labels: the names of its outputs; None: those in a file beside it, if there is one.
    :param like: the known model that it was trained from, whose pictures are made as for that one; None: the
        usual way for its kind of file.
    :param progress: told, in one line, what was taken.
    :param check: what it must pass before it gets its name.
    :raises ModelError: whatever is wrong with it; the store is then as before.
    """
    kind = kind_of(file)
    name = name or _name_of(file)
    labels = labels or labels_beside(file)
    section = CustomSection(file=str(file.absolute()), labels=str(labels.absolute()) if labels else "")
    if like:
        section = CustomSection(
            file=section.file,
            labels=section.labels,
            channel_order=like.channel_order,
            fit=like.fit,
            crop_fraction=like.crop_fraction,
            interpolation=like.interpolation,
        )
    progress(f"importing {file} as {name} (takes minutes on a Raspberry Pi)")
    if labels:
        progress(f"labels: {labels}")
    elif kind != "tflite":  # which may have its own in it
        progress("no labels: its outputs are called class 0, class 1 and so on; name them with --labels FILE")
    try:
        with store.exclusively():
            add_network(section, kind, name, store, check=check, replace=replace)
    except ModelError as error:
        if "custom." not in str(error):
            raise
        raise ModelError(f"{error} (in the configuration, with custom.file: {file})") from None
    model = store.get(name)
    progress(f"pixels: {model.entry.pixels_in_words}")
    if model.entry.binary:
        progress("output: one score, taken as that of the second label; the first gets the rest")
    if model.entry.caution:
        progress(f"caution: {model.entry.caution}")
    return model


def labels_beside(file: Path) -> Path | None:
    """Return the file of labels that lies beside a network's file; None: there is none."""
    names = (*LABEL_NAMES, f"{file.stem}_labels.txt", f"{file.stem}.labels.txt", f"{file.stem}.txt")
    return next((path for path in map(file.with_name, names) if path.is_file() and path != file), None)


def _name_of(file: Path) -> str:
    stem = file.name if file.is_dir() else file.stem
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]
    if not name or name in load_catalog():
        raise ModelError(f"{file}: give it a name: --name NAME")
    return name
