"""Import the user's network, described in the configuration, when it is new or has changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from incv3d.config.custom import CustomSection
from incv3d.config.preprocessing import PRESETS, Interpolation
from incv3d.models.entry import Golden, ModelEntry, ModelError, mark_lasting
from incv3d.models.file_kinds import Kind, format_of, kind_of
from incv3d.models.graph.freeze_job import FreezeJob, NetworkFacts
from incv3d.models.label_files import parse_labels, read_label_file
from incv3d.models.labels import Label, format_labels
from incv3d.models.onnx_file import external_files
from incv3d.models.prepare import ChildError, run_child
from incv3d.models.store import LABELS, NETWORKS, ModelStore, StoredModel

FREEZER = "incv3d.models.graph.freeze"
MAKER = "custom"
MAKER_VERSION = 1
"""Incremented when the result for the same file changes, so that results of older versions are rebuilt."""
INTERPOLATION_REASONS: dict[Interpolation, str] = {
    "bilinear": "TensorFlow 1, the source of most frozen graphs, resizes that way",
    "tf-bilinear": "TensorFlow 2 and Keras resize that way",
    "tf-bilinear-antialias": "the graph itself resizes that way",
    "pillow-bilinear": "the layout is PyTorch's (channels first), where images are resized with Pillow",
}
"""Why an interpolation is chosen if ``custom.interpolation`` is ``auto``; follows "because"."""


def ensure_custom(
    section: CustomSection,
    name: str,
    store: ModelStore,
    progress: Callable[[str], None],
    check: Callable[[StoredModel], None],
) -> StoredModel:
    """Return the network described in `section`, importing it into the store if it is new or has changed.

    :param name: its name in the store.
    :param progress: called with one line if the network must be imported.
    :param check: called with the model before it gets its name; an exception cancels the import.
    :raises ModelError: the network or a setting is wrong; the store is unchanged.
    """
    if there := find_custom(section, name, store):
        return there
    made_by, kind = _fingerprint(section), kind_of(Path(section.file))
    slow = "; takes minutes on a Raspberry Pi" if format_of(kind) == "graphdef" else ""
    progress(f"importing {section.file} as {name} (once{slow})")
    with store.exclusively():
        if not _is_there(store, name, made_by):
            add_network(section, kind, name, store, made_by, check)
    return store.get(name)


@mark_lasting()
def find_custom(section: CustomSection, name: str, store: ModelStore) -> StoredModel | None:
    """Return the network described in `section`, if the store has it with the current settings.

    :returns: None if the network must be imported; its file is a network.
    :raises ModelError: a file is missing or is not a network, or another model has that name.
    """
    if _is_there(store, name, _fingerprint(section)):
        return store.get(name)
    kind_of(Path(section.file))
    return None


def _is_there(store: ModelStore, name: str, made_by: str) -> bool:
    there = store.find(name)
    if there and not there.manifest.made_by.startswith(f"{MAKER} "):
        raise ModelError(
            f"custom.file: the name `{name}` belongs to a model that was imported by hand; "
            f"set model.name to another name, or remove that model: incv3d model remove {name}"
        )
    return there is not None and there.manifest.made_by == made_by


def add_network(
    section: CustomSection,
    kind: Kind,
    name: str,
    store: ModelStore,
    made_by: str = "",
    check: Callable[[StoredModel], None] = lambda model: None,
    replace: bool = True,
) -> None:
    """Freeze the network described in `section` and add it to `store`. The caller holds :meth:`exclusively`.

    :param made_by: identifies the settings and files; empty: the user imported the network.
    :param check: called with the model before it gets its name; an exception cancels the import.
    :param replace: replace an existing model of this name.
    :raises ModelError: the network or a setting is wrong; the store is unchanged.
    """
    with _scratch(store) as scratch:
        network = scratch / NETWORKS[format_of(kind)]
        facts = _freeze(section, kind, network, scratch / "facts.json")
        with mark_lasting():
            labels = _labels(section, facts)
            entry = _entry(section, kind, facts, labels)
        with store.adding(name, entry, replace, made_by, check) as folder:
            network.rename(folder / network.name)
            (folder / LABELS).write_text(format_labels(labels), "utf-8")
            if entry.golden:
                shutil.copyfile(section.golden_picture, folder / entry.golden.image)


def _freeze(section: CustomSection, kind: Kind, network: Path, facts: Path) -> NetworkFacts:
    mean, std = section.mean_and_std
    is_preset = section.preset != "none" and (section.mean is None or section.std is None)
    key = f"custom.preset {section.preset}" if is_preset else "custom.mean and custom.std"
    job = FreezeJob(
        file=section.file,
        kind=kind,
        input=section.input,
        output=section.output,
        signature=section.signature,
        width=section.width,
        height=section.height,
        layout=section.layout,
        network=str(network),
        facts=str(facts),
        pixel_range=section.pixel_range,
        mean=mean,
        std=std,
        mean_from=key,
        needs_labels=not section.labels,
    )
    return freeze_network(job)


def freeze_network(job: FreezeJob) -> NetworkFacts:
    """Do `job` in a child process, and return the facts about the network.

    :raises ModelError: it is damaged, ambiguous, or not an image classifier.
    """
    try:
        run_child(FREEZER, [msgspec.json.encode(job).decode()])
    except ChildError as error:
        # A killed process may have run out of memory; any other failure would recur with the same file.
        error.is_lasting = 0 < error.status != os.EX_TEMPFAIL
        raise
    return msgspec.json.decode(Path(job.facts).read_bytes(), type=NetworkFacts)


def _entry(section: CustomSection, kind: Kind, facts: NetworkFacts, labels: list[Label]) -> ModelEntry:
    golden = None
    if section.golden_picture:
        golden = Golden(
            image=f"golden{Path(section.golden_picture).suffix}",
            label=" ".join(section.golden_label.split()),
            score=section.golden_score,
            tolerance=section.golden_tolerance,
        )
    preset = PRESETS.get(section.preset)
    crop_fraction, resize_to = section.crop_fraction or 1.0, section.resize_to
    if preset and section.chosen_fit == "crop" and not resize_to:
        resize_to = preset.resize_to(max(facts.width, facts.height), section.crop_fraction)
        crop_fraction = 1.0
    if 0 < resize_to < max(facts.width, facts.height):
        raise ModelError(
            f"custom.resize_to: {resize_to} is less than {facts.width}x{facts.height}, the "
            f"input size of {section.file}"
        )
    interpolation = section.interpolation
    if interpolation == "auto" and preset:
        interpolation = preset.interpolation
    elif interpolation == "auto":
        interpolation = facts.interpolation or default_interpolation(kind, facts.layout)
    return ModelEntry(
        format=format_of(kind),
        input=facts.input,
        output=facts.output,
        height=facts.height,
        width=facts.width,
        channels=facts.channels,
        mean=facts.normalisation.mean,
        scale=facts.normalisation.scale,
        pixels_from=facts.normalisation.why,
        caution=facts.normalisation.caution,
        channel_order=section.channel_order,
        layout=facts.layout,
        fit=section.chosen_fit,
        crop_fraction=crop_fraction,
        resize_to=resize_to,
        interpolation=interpolation,
        outputs=len(labels),
        binary=facts.outputs == 1,
        scores=facts.scores if section.scores == "auto" else section.scores,
        golden=golden,
        source=section.file,
    )


def choices_in_words(section: CustomSection, entry: ModelEntry) -> list[str]:
    """Return the settings that were not made by hand, one line each, for the log."""
    taken = entry.interpolation
    if section.preset != "none":
        return [f"preset {section.preset}: {entry.picture_in_words}"]
    if section.interpolation != "auto":
        return []
    reason = INTERPOLATION_REASONS[taken]
    return [f"interpolation: {taken}, because {reason}; to change it, set custom.interpolation"]


def default_interpolation(kind: Kind, layout: Literal["nhwc", "nchw"]) -> Interpolation:
    """Return the interpolation with which images were most likely resized when such a network was trained."""
    if layout == "nchw":
        return "pillow-bilinear"
    return "bilinear" if kind == "graphdef" else "tf-bilinear"


def _labels(section: CustomSection, facts: NetworkFacts) -> list[Label]:
    """Return one label per output, or two for a network with one output."""
    if section.labels:
        return read_label_file(Path(section.labels), facts.outputs)
    if facts.labels:
        where = f"{section.file}: its own labels, {facts.labels_name}"
        return parse_labels(where, facts.labels, facts.outputs)
    return [Label(index, "", f"class {index}") for index in range(max(2, facts.outputs))]


def _fingerprint(section: CustomSection) -> str:
    """Return a digest of the settings and of the size and time of every file they name.

    Hashing the files, 100 MB, at every start would take seconds on a Raspberry Pi.
    """
    import hashlib  # its OpenSSL takes 3 MB, which daemons without a custom network save

    digest = hashlib.sha256(_settings(section))
    for name in filter(None, (section.file, section.labels, section.golden_picture)):
        for path in sorted(_files(Path(name))):
            try:
                status = path.stat()
            except OSError as error:
                raise ModelError(f"{path}: {(error.strerror or '').lower()}") from None
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return f"{MAKER} {MAKER_VERSION} {digest.hexdigest()}"


def _settings(section: CustomSection) -> bytes:
    """Return the settings as older versions encoded them, so that an upgrade imports nothing again."""
    settings = msgspec.to_builtins(section)
    if section.preset == "none":
        del settings["preset"]
        settings |= {"fit": section.chosen_fit, "crop_fraction": section.crop_fraction or 1.0}
    return msgspec.json.encode(settings)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [each for each in path.rglob("*") if each.is_file()]
    return [path, *external_files(path)]


@contextlib.contextmanager
def _scratch(store: ModelStore) -> Iterator[Path]:
    """Yield a folder on the store's disk, and remove leftovers; the caller holds the lock."""
    for left in store.root.glob(f".{MAKER}-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{MAKER}-", dir=store.root) as scratch:
        yield Path(scratch)
